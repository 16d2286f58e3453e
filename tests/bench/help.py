"""How long `bulk-delete --help` takes, beside Python that does nothing and Python that imports click.

CPU time of each process, so that others on the machine matter little; a run of each in turns, the median of
all. Python keeps its bytecode, as where the program is installed.
"""

import argparse
import os
import statistics
import sys
from pathlib import Path

STARTS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "python -c 'import click'": [sys.executable, "-c", "import click"],
    "bulk-delete --help": [str(Path(sys.executable).with_name("bulk-delete")), "--help"],
    "bulk-delete run --help": [str(Path(sys.executable).with_name("bulk-delete")), "run", "--help"],
}


def cpu_ms_of(command):
    """Run a command to its end, and return the CPU milliseconds it used."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    _, status, used = os.wait4(os.posix_spawn(command[0], command, env, file_actions=quiet), 0)
    assert status == 0, command
    return (used.ru_utime + used.ru_stime) * 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=25)
    runs = parser.parse_args().runs
    rounds = [[cpu_ms_of(command) for command in STARTS.values()] for _ in range(runs + 1)]
    for name, *used in zip(STARTS, *rounds[1:], strict=True):
        print(f"{name:<26}{statistics.median(used):>6.1f} ms of CPU")


if __name__ == "__main__":
    main()
