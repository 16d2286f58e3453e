"""The commands that the program tells people to type: it as it was called, with the flags that were given.

Keeps the promise that such a command works when it is pasted into the same shell: paths and values are
quoted, and `.venv/bin/bulk-delete` or `python -m runner` is not called `bulk-delete`. It says how, and never
when, something is to be typed.
"""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from runner.options import AccessOptions

__all__ = ["command", "program"]

_NAME: Final = "bulk-delete"


def program(orig_argv: Sequence[str] | None = None, argv: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the words with which this program is called; its plain name where a script called it.

    Args:
        orig_argv: The words of the process, the interpreter's among them; None: those of this one.
        argv: `sys.argv`, whose first word is none of the arguments.
    """
    whole, after = orig_argv or sys.orig_argv, argv or sys.argv
    words = whole[: len(whole) - len(after) + 1]
    if words[-2:] == ["-m", "runner"]:
        return (_as_found(words[0]), *words[1:])
    if words and Path(words[-1]).name == _NAME:
        return (_as_found(words[-1]),)
    return (_NAME,)


def _as_found(word: str) -> str:
    """Return a program's name alone where that is what a shell would find, else the word as it is."""
    import shutil  # noqa: PLC0415 - with all its kinds of archives, which `--help` needs not

    found = shutil.which(Path(word).name)
    # Links are not followed: the Python of a virtual environment is a link to another one.
    same = found is not None and os.path.abspath(found) == os.path.abspath(word)  # noqa: PTH100 - see above
    return Path(word).name if same else word


def access_flags(access: AccessOptions) -> tuple[str, ...]:
    """Return the flags that say how the vendor is reached and who hears of it, as they were given."""
    from runner.access import without_password  # noqa: PLC0415 - as above

    named = (
        ("--base-url", access.base_url),
        ("--token-file", access.token_file),
        ("--ca-file", access.ca_file),
        ("--config", access.config),
        ("--rate-from", None if access.rate_from is None else without_password(access.rate_from)),
    )
    flags = [word for flag, value in named if value is not None for word in (flag, str(value))]
    return (*flags, *(("--proxy-from-env",) if access.proxy_from_env else ()))


def command(*words: str | Path, access: AccessOptions | None = None) -> str:
    """Return a command of this program, quoted for the shell.

    Args:
        words: The verb and what it is about; a path that looks like a flag is told apart.
        access: Of a command that talks to the vendor: the flags that were given.
    """
    plain = [f"./{word}" if isinstance(word, Path) and str(word)[0] == "-" else str(word) for word in words]
    return shlex.join([*program(), *plain, *(() if access is None else access_flags(access))])
