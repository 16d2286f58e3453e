"""`check`: whether base URL, TLS and token are good; nothing is deleted."""

import asyncio

from runner.access import Access
from runner.commands.command_call import CommandResult
from runner.commands.vendor import reach_vendor, stoppable
from runner.errors import Exit
from runner.outcomes import AttemptFailed
from runner.output.console import Console
from runner.output.results import CheckResult
from runner.process import use_loop
from runner.settings import Limits

__all__ = ["check"]


def check(access: Access, screen: Console) -> CommandResult[CheckResult]:
    """Ask the vendor about the token."""
    with asyncio.Runner(loop_factory=use_loop()) as runner:
        found = runner.run(_ask_token(access, screen))
    return CommandResult(found, lambda: f"{found.base_url}: {found.what}")


async def _ask_token(access: Access, screen: Console) -> CheckResult:
    error, words = None, None
    async with (
        stoppable(screen, lambda _name: None) as stop,
        reach_vendor(access, Limits(concurrency=1), stop) as vendor,
    ):
        try:
            words = await vendor.client.check_token()
        except AttemptFailed as failure:
            error, words = failure.kind.error, str(failure)
    code = Exit.OK if error is None else Exit.STOPPED
    what = words or "the token is valid"
    return CheckResult(
        exit_code=code, message=what, base_url=access.base_url, ok=error is None, error=error, what=what
    )
