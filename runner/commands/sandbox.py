"""`sandbox`: the vendor's API on this machine, with data and faults, to rehearse against."""

import asyncio
import random
import signal
import sys
from typing import Final

from runner.errors import Exit, Refused
from runner.invocation import command
from runner.options import SandboxOptions
from runner.output.results import SandboxResult
from runner.output.results import as_json as result_json
from runner.sandbox import Pool, SandboxSettings, parse_faults, run
from runner.sandbox.settings import parse_rate_limit

__all__ = ["sandbox"]

_USERS: Final = 10


def sandbox(options: SandboxOptions) -> Exit:
    """Serve until a signal comes; where it listens is said at once.

    Raises:
        Refused: A flag has no meaning, or the port is taken.
    """
    try:
        settings = SandboxSettings(
            token=options.token,
            latency_s=options.latency_s,
            rate_limit=None if options.rate_limit is None else parse_rate_limit(options.rate_limit),
            faults=parse_faults(options.faults, seed=options.seed),
        )
    except ValueError as error:
        raise Refused(f"sandbox: {error}", hint=f"see: {command('sandbox', '--help')}") from error
    pool = Pool(auto_rows=options.rows_per_phone)
    if options.rows:
        pool.seed([f"user-{n}" for n in range(1, _USERS + 1)], options.rows, random.Random(options.seed))  # noqa: S311 - no secret

    def announce(url: str) -> None:
        if options.as_json or not options.quiet:
            told = result_json(SandboxResult(message=f"listening at {url}", base_url=url)).decode()
            sys.stdout.write((told if options.as_json else url) + "\n")
            sys.stdout.flush()

    async def serve_until_signal() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await run(settings, pool, options.port, announce, stop)

    try:
        asyncio.run(serve_until_signal())
    except OSError as error:
        raise Refused(
            f"port {options.port}: {error.strerror}", hint="choose another with --port, or 0"
        ) from error
    return Exit.OK
