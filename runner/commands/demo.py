"""`demo`: an ordinary run, by the same code as `run`, against a sandbox in a thread of its own.

What it says at the end it says by the sandbox's word, not by the audit's.
"""

import asyncio
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from runner.access import Access, Token
from runner.audit.fold import fold_audit
from runner.commands.command_call import CommandResult
from runner.commands.demo_data import DemoFiles, DemoTruth, measure_demo, next_steps, prepare_demo
from runner.commands.evidence import find_plan
from runner.commands.run import run
from runner.errors import Exit, Refused
from runner.options import RunOptions
from runner.output.console import Console
from runner.output.folded_run import FoldedRun
from runner.output.report import make_report, report_text
from runner.output.results import DemoResult, RunResult
from runner.sandbox import Pool, Running, SandboxSettings, serve

__all__ = ["demo"]

_OPTIONS: Final = RunOptions(reason="a rehearsal", operator="demo", yes=True)


def demo(seed: int, keep: Path | None, screen: Console) -> CommandResult[DemoResult]:
    """Run the demo's job against a sandbox with faults, and hold the audit against what really happened.

    Raises:
        Refused: `keep` is not empty, or no sandbox can be started.
        RunnerError: As `run` does.
    """
    folder = Path(tempfile.mkdtemp(prefix="bulk-delete-demo-")) if keep is None else keep
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise Refused(f"{keep} is not empty", hint="name a new folder: nothing is written over")
    audit = folder / "audit" / "demo.jsonl"
    screen.say(f"making lists of 50,000 rows in {folder}")
    files = prepare_demo(folder, seed)
    with _sandbox_in_thread(files.settings, files.pool) as running:
        screen.say(f"a sandbox that loses replies and fails now and then stands at {running.url}")
        access = Access(running.url, Token(files.settings.token))
        done = run([str(files.job)], None, replace(_OPTIONS, audit=audit), access, screen)
    truth = measure_demo(files, running.ledger)
    fold = fold_audit(audit, verify_chain=True)
    holds, words = _judge(files, truth, fold.totals().count)
    report, steps = make_report(FoldedRun.of(audit, fold, find_plan(audit))), next_steps(audit)
    ended = {name: getattr(done.result, name) for name in RunResult.__struct_fields__}
    result = DemoResult(
        **{
            **ended,
            "exit_code": int(Exit.OK if holds else Exit.PARTIAL),
            "message": words[-1],
            # Its sandbox is gone: nothing that sends could go on.
            "hint": f"type: {steps[0]}",
            "next": steps[0],
        },
        holds=holds,
        deleted_rows=truth.deleted_rows,
        unseen_rows=truth.unseen_rows,
        outside_deleted=truth.outside_deleted,
    )
    text = [report_text(report, goes_on=False), "", *words, "try next:", *(f"  {step}" for step in steps)]
    return CommandResult(result, lambda: "\n".join(text))


def _judge(files: DemoFiles, truth: DemoTruth, count: int) -> tuple[bool, list[str]]:
    """Tell whether the audit told the truth, in words too, of which the last are the verdict.

    `count` are the rows that it says were deleted.
    """
    faults = ", ".join(f"{name} x{times}" for name, times in sorted(truth.faults.items()))
    honest = count <= truth.deleted_rows <= count + truth.unseen_rows and not truth.outside_deleted
    return honest, [
        f"the sandbox's own ledger: {truth.requests:,} requests; faults: {faults}",
        (
            f"  {truth.deleted_rows:,} rows really went; the audit confirms {count:,},"
            f" and {truth.unseen_rows:,} went with a reply that was lost"
        ),
        f"  rows of numbers outside the job: {files.outside:,} before, {truth.outside_deleted} deleted",
        "the audit holds" if honest else "THE AUDIT DOES NOT HOLD: please report this",
    ]


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
