"""What every test shares: a clean environment and, on demand, a database of its own."""

import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest

from serving.store import schema
from serving.store.database import Database
from serving.store.embedded import (
    DATABASE,
    PostgresServer,
    create_database,
    database_url,
    start_server,
)
from tests.scale import Scale

pytest_plugins = ["tests.stack_fixtures"]

_numbers = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--prove`: the full counts, and the tests that are only worth it then."""
    parser.addoption("--prove", action="store_true", help="full counts; writes bench/results")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what needs the engine, leave `prove` out of a plain run, put what breaks things last."""
    for item in items:
        if {"stack", "vllm"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.engine)
    if not config.getoption("--prove"):
        skip = pytest.mark.skip(reason="full counts only: make prove")
        for item in items:
            if item.get_closest_marker("prove"):
                item.add_marker(skip)
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


@pytest.fixture(scope="session")
def scale(request: pytest.FixtureRequest) -> Scale:
    """How much to do, and where the figures go."""
    return Scale(is_full=request.config.getoption("--prove"))


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the STROP_* variables of whoever runs it."""
    for name in os.environ:
        if name.startswith("STROP_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Real PostgreSQL, once per test process, with migrated `strop` as the template."""
    # Not under tmp_path: a socket's path may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="strop-") as folder:
        server = start_server(Path(folder) / "pg")
        schema.migrate(database_url(server, DATABASE))
        with psycopg.connect(database_url(server, "postgres"), autocommit=True) as connection:
            # Durability is tested by killing processes, never the machine.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
        yield server
        server.cleanup()


@pytest.fixture
def database_name(postgres: PostgresServer) -> str:
    """The name of a fresh database with the newest schema."""
    name = f"test_{next(_numbers)}"
    create_database(postgres, name, template=DATABASE)
    return name


@pytest.fixture
async def database(postgres: PostgresServer, database_name: str) -> AsyncIterator[Database]:
    """A fresh database with the newest schema."""
    found = Database.connect(database_url(postgres, database_name))
    yield found
    await found.close()
