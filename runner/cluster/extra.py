"""Whether the libraries of the extra `[cluster]` are there: asked before what needs them is loaded."""

from importlib.util import find_spec

from runner.errors import Refused

__all__ = ["check_extra"]


def check_extra() -> None:
    """Raise Refused unless the extra is installed; nothing of it is loaded."""
    missing = [name for name in ("psycopg", "procrastinate") if find_spec(name) is None]
    if missing:
        raise Refused(
            f"this needs a database's libraries, which are not installed ({', '.join(missing)})",
            hint="type: pip install 'bulk-delete[cluster]'",
        )
