"""The tables and functions in the database, made once: ours, and those of the queue that places the work."""

from pathlib import Path
from typing import Final

from procrastinate.schema import SchemaManager

from runner.cluster.database import Database, ask, check_schema, transaction

__all__ = ["make_schema"]

_OURS: Final = Path(__file__).with_name("schema.sql")
_ONE_AT_A_TIME: Final = "SELECT pg_advisory_xact_lock(7310429816240211)"


async def make_schema(database: Database) -> bool:
    """Make the schema `bulk_delete`, all of it or nothing; return whether it was not there yet.

    Raises:
        DatabaseAway: The database cannot be reached.
        Refused: It does not let this user make it, or has one of another version.
    """
    async with await database.connect() as connection, transaction(connection):
        await ask(connection, _ONE_AT_A_TIME)
        ((there,),) = await ask(connection, "SELECT to_regclass('bulk_delete.schema_version') IS NOT NULL")
        if not there:
            await ask(connection, "CREATE SCHEMA IF NOT EXISTS bulk_delete")
            await ask(connection, SchemaManager.get_schema())
            await ask(connection, _OURS.read_text(encoding="utf-8"))
        await check_schema(connection)
    return not there
