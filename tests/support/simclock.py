"""An asyncio loop whose clock jumps to the next timer when nothing else is ready.

No threads and no sockets belong on it: what waits for either would see hours pass. Give it coroutines only.
"""

import asyncio
import heapq
from collections.abc import Coroutine
from typing import Any

__all__ = ["SimulatedLoop", "run_simulated"]

JUMP_S = 1e-6
"""Added at each jump, or a timer that is due a rounding error later would be woken for ever."""


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Starts at 1000 s; simulated seconds cost nothing but the work done in them."""

    def __init__(self, start_s: float = 1000.0) -> None:
        super().__init__()
        self._simulated_s = start_s

    def time(self) -> float:
        return self._simulated_s

    def block(self, seconds: float) -> None:
        """Let time pass as if a callback had held the loop, or the process had been stopped, that long."""
        self._simulated_s += seconds

    def _run_once(self) -> None:
        while self._scheduled and self._scheduled[0]._cancelled:
            self._timer_cancelled_count -= 1
            heapq.heappop(self._scheduled)._scheduled = False
        if not self._ready and self._scheduled:
            self._simulated_s = max(self._simulated_s, self._scheduled[0]._when + JUMP_S)
        elif not self._ready and not self._stopping:
            raise RuntimeError("the simulation is stuck: nothing is ready and no timer is set")
        super()._run_once()


def run_simulated(coro: Coroutine[Any, Any, Any], *, limit_s: float = 86400.0) -> Any:
    """Run a coroutine on a fresh simulated loop; TimeoutError after that many simulated seconds."""

    async def bounded() -> Any:
        async with asyncio.timeout(limit_s):
            return await coro

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(bounded())
