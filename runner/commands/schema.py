"""`schema`: what a job file, an audit or a result may hold, as JSON Schema."""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import orjson

from runner.audit.records import audit_schema
from runner.commands.command_call import CommandResult
from runner.job.arguments import job_schema
from runner.output.results import SchemaResult, result_schema

__all__ = ["Described", "schema"]

Described = Literal["job", "audit", "result"]
_SCHEMAS: Final[Mapping[Described, Callable[[], dict[str, Any]]]] = {
    "job": job_schema,
    "audit": audit_schema,
    "result": result_schema,
}


def schema(of: Described) -> CommandResult[SchemaResult]:
    """Return a JSON Schema."""
    found = _SCHEMAS[of]()
    text = orjson.dumps(found, option=orjson.OPT_INDENT_2).decode()
    return CommandResult(SchemaResult(of=of, schema=found), lambda: text)
