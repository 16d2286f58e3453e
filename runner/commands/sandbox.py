"""`sandbox`: the vendor's API on this machine, with data and faults, to rehearse against."""

import asyncio
import random
import signal
import sys
from collections.abc import Sequence
from typing import Final

from runner.errors import Exit, Refused
from runner.invocation import command
from runner.output.results import SandboxResult
from runner.output.results import as_json as result_json
from runner.sandbox import Pool, SandboxSettings, parse_faults, run
from runner.sandbox.settings import parse_rate_limit

__all__ = ["sandbox"]

_USERS: Final = 10


def sandbox(
    *,
    port: int,
    token: str,
    rows: int,
    rows_per_phone: int,
    seed: int,
    faults: Sequence[str],
    rate_limit: str | None,
    latency: float,
    quiet: bool,
    as_json: bool,
) -> Exit:
    """Serve until a signal comes; where it listens is said at once.

    Raises:
        Refused: A flag has no meaning, or the port is taken.
    """
    try:
        settings = SandboxSettings(
            token=token,
            latency_s=latency,
            rate_limit=None if rate_limit is None else parse_rate_limit(rate_limit),
            faults=parse_faults(faults, seed=seed),
        )
    except ValueError as error:
        raise Refused(f"sandbox: {error}", hint=f"see: {command('sandbox', '--help')}") from error
    pool = Pool(auto_rows=rows_per_phone)
    if rows:
        pool.seed([f"user-{n}" for n in range(1, _USERS + 1)], rows, random.Random(seed))  # noqa: S311 - no secret

    def announce(url: str) -> None:
        if as_json or not quiet:
            told = result_json(SandboxResult(message=f"listening at {url}", base_url=url)).decode()
            sys.stdout.write((told if as_json else url) + "\n")
            sys.stdout.flush()

    async def serve_until_signal() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await run(settings, pool, port, announce, stop)

    try:
        asyncio.run(serve_until_signal())
    except OSError as error:
        raise Refused(f"port {port}: {error.strerror}", hint="choose another with --port, or 0") from error
    return Exit.OK
