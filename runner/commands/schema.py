"""`schema`: what a job file or an audit may hold, as JSON Schema."""

from typing import Any, Literal

import orjson

from runner.audit.records import audit_schema
from runner.commands.shown import Shown
from runner.errors import Exit
from runner.job.arguments import job_schema

__all__ = ["schema"]


def schema(what: Literal["job", "audit"]) -> Shown:
    """Return a JSON Schema."""
    found: dict[str, Any] = audit_schema() if what == "audit" else job_schema()
    return Shown(Exit.OK, found, lambda: orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
