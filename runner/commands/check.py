"""`check`: whether base URL, TLS and token are good; nothing is deleted."""

import asyncio
from typing import Any

from runner.access import Access
from runner.commands.shown import Shown
from runner.commands.vendor import reach_vendor, stopped_by_signals
from runner.errors import Exit
from runner.outcomes import AttemptFailed
from runner.process import use_loop
from runner.settings import Limits

__all__ = ["check"]


def check(access: Access) -> Shown:
    """Ask the vendor about the token."""
    with asyncio.Runner(loop_factory=use_loop()) as runner:
        finding = runner.run(_ask_token(access))
    code = Exit.OK if finding["ok"] else Exit.STOPPED
    return Shown(code, finding, lambda: f"{finding['base_url']}: {finding['what']}")


async def _ask_token(access: Access) -> dict[str, Any]:
    async with (
        stopped_by_signals(lambda _name: None) as stop,
        reach_vendor(access, Limits(concurrency=1), stop) as vendor,
    ):
        try:
            words = await vendor.client.check_token()
        except AttemptFailed as error:
            return {"ok": False, "base_url": access.base_url, "error": error.kind.error, "what": str(error)}
    return {"ok": True, "base_url": access.base_url, "error": None, "what": words or "the token is valid"}
