"""One PostgreSQL for all tests of a process, and a database of its own for each that asks."""

import asyncio
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
    name = f"test_{next(_numbers)}"
    yield server.make_database(name)
    server.drop_database(name)


@pytest.fixture(scope="session")
def with_tables(server):
    """The name of a database that `cluster init` has seen, to be copied."""
    asyncio.run(make_schema(Database(server.make_database("with_tables"))))
    return "with_tables"


@pytest.fixture
def ready_url(server, with_tables):
    """The URL of a database that `cluster init` has seen."""
    name = f"test_{next(_numbers)}"
    yield server.make_database(name, like=with_tables)
    server.drop_database(name)


@pytest.fixture
def database(ready_url):
    return Database(ready_url)
