"""Runs the program again and again, each time with a signal at a moment after its summary stands.

`late_signal FOLDER MOMENT… -- ARGUMENTS…`: a moment is `SIGNAL:WHEN`; WHEN is a number n (as the n-th
function is called from then on), or a place in the interpreter's end: `atexit`, or `teardown`, when modules
are taken down and Python's handlers are gone. The n-th run leaves its outputs and its status in FOLDER
(`n.out`, `n.err`, `n.status`); `{n}` in an argument is its number. Each is a fork: all share the imports.
"""

import atexit
import os
import signal
import sys
from pathlib import Path

from runner.audit.journal import Journal
from runner.audit.records import SummaryRecord
from runner.cli import main
from tests.support.warm import import_everything


class _Kept:
    """Sends the signal when it is taken down, which the last module's end does."""

    def __init__(self, kill):
        self._kill = kill

    def __del__(self):
        self._kill()


def _at_call(nth, kill):
    """Send the signal at the n-th call after the summary was appended."""
    append, seen = Journal.append, 0

    def count(_frame, event, _arg):
        nonlocal seen
        seen += event == "call"
        if seen == nth:
            sys.setprofile(None)
            kill()

    def watch(journal, record):
        append(journal, record)
        if isinstance(record, SummaryRecord):
            sys.setprofile(count)

    Journal.append = watch


def _arrange(number, when):
    pid = os.getpid()

    def kill(send=os.kill):  # names of modules are gone by the time of `teardown`
        send(pid, number)

    if when == "atexit":
        atexit.register(kill)
    elif when == "teardown":
        sys.modules["kept"] = _Kept(kill)
    else:
        _at_call(int(when), kill)


def _become(folder, n, moment, args):
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / f"{n}.{name}", os.O_WRONLY | os.O_CREAT, 0o600), descriptor)
    name, when = moment.split(":")
    _arrange(signal.Signals[name], when)
    sys.argv[1:] = [arg.replace("{n}", str(n)) for arg in args]


def _run_all(folder, moments, args):
    """Fork for each moment; returns in each fork, and with False in the end."""
    for n, moment in enumerate(moments):
        pid = os.fork()
        if not pid:
            _become(folder, n, moment, args)
            return True
        (folder / f"{n}.status").write_text(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
    return False


if __name__ == "__main__":
    import_everything()
    cut = sys.argv.index("--")
    if _run_all(Path(sys.argv[1]), sys.argv[2:cut], sys.argv[cut + 1 :]):
        main()
