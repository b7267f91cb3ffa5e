"""What every test shares: a clean environment and, on demand, a database of its own."""

import itertools
import os
import shutil
import signal
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
    database_url,
    let_go,
    start_server,
)
from tests.scale import Scale, choose_examples

pytest_plugins = ["tests.stack_fixtures"]

MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
_numbers = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--prove`: the full counts, and the tests that are only worth it then."""
    parser.addoption("--prove", action="store_true", help="full counts; writes bench/results")


def pytest_configure(config: pytest.Config) -> None:
    """Set hypothesis up before a test module is read: its decorators look then."""
    choose_examples(is_full=config.getoption("--prove"))
    # A run in the background ignores Ctrl-C, and so would every Strop that it starts and stops.
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
    with tempfile.TemporaryDirectory(prefix="strop-", dir=_fast_folder()) as folder:
        server = start_server(Path(folder) / "pg")
        schema.migrate(database_url(server, DATABASE))
        with psycopg.connect(database_url(server, "postgres"), autocommit=True) as connection:
            # Durability is tested by killing processes, never the machine.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
        yield server
        let_go(server)


@pytest.fixture
def database_name(postgres: PostgresServer) -> Iterator[str]:
    """The name of a fresh database with the newest schema; it goes with its test."""
    name = f"test_{next(_numbers)}"
    with psycopg.connect(database_url(postgres, "postgres"), autocommit=True) as connection:
        # Copying the files costs a tenth of what logging every page does.
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {DATABASE} STRATEGY FILE_COPY")
        yield name
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def database(postgres: PostgresServer, database_name: str) -> AsyncIterator[Database]:
    """A fresh database with the newest schema."""
    found = Database.connect(database_url(postgres, database_name))
    yield found
    await found.close()


def _fast_folder() -> Path | None:
    """Return where files live in memory, if there is room: a fresh database is 300 files."""
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 2**30:
        return MEMORY
    return None
