"""One PostgreSQL for all tests of a process, and a database of its own for each that asks."""

import itertools

import pytest

from runner.cluster.database import Database
from runner.cluster.schema import make_schema
from tests.support.postgres import postgres

_numbers = itertools.count()


@pytest.fixture(scope="session")
def server():
    with postgres() as server:
        yield server


@pytest.fixture
def empty_url(server):
    """The URL of a database without any tables."""
    return server.make_database(f"test_{next(_numbers)}")


@pytest.fixture
async def database(empty_url):
    """A database that `cluster init` has seen."""
    database = Database(empty_url)
    await make_schema(database)
    return database
