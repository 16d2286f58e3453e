"""The verbs that need no vendor: `sandbox` and `demo`.

The demo is an ordinary run, by the same code as `run`, against a sandbox in a thread of its own; what it says
at the end it says by the sandbox's word, not by the audit's.
"""

import asyncio
import random
import shlex
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runner.audit.fold import fold_audit
from runner.commands.demo_job import DemoFiles, DemoTruth, measure_demo, next_steps, prepare_demo
from runner.commands.invocation import Call
from runner.commands.sending import run_jobs
from runner.errors import Exit, Refused
from runner.sandbox import Pool, Running, SandboxSettings, parse_faults, run, serve
from runner.sandbox.settings import parse_rate_limit
from runner.settings import Access, LimitsGiven, Token

__all__ = ["demo", "sandbox"]

_USERS = 10


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
) -> Exit:
    """Serve until a signal comes."""
    try:
        settings = SandboxSettings(
            token=token,
            latency_s=latency,
            rate_limit=None if rate_limit is None else parse_rate_limit(rate_limit),
            faults=parse_faults(faults, seed=seed),
        )
    except ValueError as error:
        raise Refused(f"sandbox: {error}", hint="see `bulk-delete sandbox --help`") from error
    pool = Pool(auto_rows=rows_per_phone)
    if rows:
        pool.seed([f"user-{n}" for n in range(1, _USERS + 1)], rows, random.Random(seed))  # noqa: S311 - no secret

    def announce(text: str) -> None:
        if not quiet:
            sys.stdout.write(text + "\n")
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


def demo(*, seed: int, keep: Path | None, **flags: Any) -> Exit:
    """Run the demo's job against a sandbox with faults, and hold the audit against what really happened."""
    folder = Path(tempfile.mkdtemp(prefix="bulk-delete-demo-")) if keep is None else keep
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise Refused(f"{keep} is not empty", hint="name a new folder: nothing is written over")
    audit = folder / "audit" / "demo.jsonl"
    asked = {**_NO_FLAGS, **flags, "audit": audit, "yes": True, "operator": "demo"}
    call = Call.of(asked, LimitsGiven())
    call.console.say(f"making lists of 50,000 rows in {folder}")
    files = prepare_demo(folder, seed)
    with _sandbox_in_thread(files.settings, files.pool) as running:
        call.console.say(f"a sandbox that loses replies and fails now and then stands at {running.url}")
        run_jobs([str(files.job)], Access(running.url, Token(files.settings.token)), call)
    truth = measure_demo(files, running.ledger)
    return _judge(files, truth, audit, call)


_NO_FLAGS = {
    "user_id": None,
    "audit_phones": "left",
    "reason": "a rehearsal",
    "wait": False,
    "stale_ok": False,
}


def _judge(files: DemoFiles, truth: DemoTruth, audit: Path, call: Call) -> Exit:
    """Say whether the audit told the truth, and what to try next."""
    count = fold_audit(audit, verify_chain=True).totals().count
    faults = ", ".join(f"{name} x{times}" for name, times in sorted(truth.faults.items()))
    honest = count <= truth.deleted_rows <= count + truth.unseen_rows and not truth.outside_deleted
    say = call.console.say
    say(f"the sandbox's own ledger: {truth.requests:,} requests; faults: {faults}")
    say(
        f"  {truth.deleted_rows:,} rows really went; the audit confirms {count:,},"
        f" and {truth.unseen_rows:,} went with a reply that was lost"
    )
    say(f"  rows of numbers outside the job: {files.outside:,} before, {truth.outside_deleted} deleted")
    say("the audit holds" if honest else "THE AUDIT DOES NOT HOLD: please report this")
    say("try next:")
    for step in next_steps(audit, _program()):
        say(f"  {step}")
    return Exit.OK if honest else Exit.PARTIAL


def _program() -> str:
    """Return how this program is called: by its path, as it was typed, where its name alone is not found."""
    called = sys.argv[0]
    typed = Path(called).name == "bulk-delete" and shutil.which("bulk-delete") is None
    return shlex.quote(called) if typed else "bulk-delete"


@contextmanager
def _sandbox_in_thread(settings: SandboxSettings, pool: Pool) -> Iterator[Running]:
    """Serve on a loop of its own while the context lasts."""
    started = threading.Event()
    found: list[Running] = []
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()

    async def serve_until_ended() -> None:
        try:
            async with serve(settings, pool) as running:
                found.append(running)
                started.set()
                await ended.wait()
        finally:
            started.set()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve_until_ended()), daemon=True)
    thread.start()
    started.wait()
    if not found:
        raise Refused("the sandbox could not be started on 127.0.0.1")
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()
