"""Where the operator's configuration is: on the command line, else in one place of the user's.

Loads nothing, so that a run of which nobody wants to hear costs nothing more.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

__all__ = ["find_config", "named_config"]

_FLAG: Final = "--config"


def find_config(given: Path | None, env: Mapping[str, str]) -> Path | None:
    """Return the configuration's path: the flag's, else the default one where there is such a file."""
    if given is not None:
        return given
    base, home = env.get("XDG_CONFIG_HOME", ""), env.get("HOME", "")
    # A relative path there is invalid by the XDG specification.
    folder = Path(base) if base.startswith("/") else Path(home) / ".config" if home.startswith("/") else None
    default = None if folder is None else folder / "bulk-delete" / "config.toml"
    return default if default is not None and os.path.lexists(default) else None


def named_config(words: Sequence[str]) -> Path | None:
    """Return the configuration that a command line names which was not understood."""
    for word, following in zip(words, [*words[1:], ""], strict=False):
        if word == _FLAG and following:
            return Path(following)
        if word.startswith(f"{_FLAG}="):
            return Path(word.removeprefix(f"{_FLAG}="))
    return None
