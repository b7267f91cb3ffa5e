"""The address of a server of one's own, `store.url`: is it one, and does somebody answer there?"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError

from serving.errors import ConfigurationError, UnavailableError
from serving.store.database import reason_of

_CONNECT_SECONDS: Final = 10
"""psycopg would wait for two minutes for a machine that is not there."""


def read_address(url: str) -> str:
    """Return `url`, with a limit to how long a connection may take where it sets none.

    Raises:
        ConfigurationError: it is no URL of a PostgreSQL database. It is not quoted: it holds a
            password.
    """
    try:
        has_limit = "connect_timeout" in conninfo_to_dict(url)
        port = make_url(url).port
    except (psycopg.ProgrammingError, ArgumentError, ValueError):
        raise _no_address() from None
    if port is not None and not 0 < port < 2**16:
        raise _no_address()
    if has_limit:
        return url
    return f"{url}{'&' if '?' in url else '?'}connect_timeout={_CONNECT_SECONDS}"


@contextmanager
def telling_outages() -> Generator[None]:
    """Turn the driver's error for a database that is away into ours.

    Raises:
        UnavailableError: says what the driver said.
    """
    try:
        yield
    except (OperationalError, InterfaceError, psycopg.OperationalError) as error:
        raise outage(error) from error


def outage(error: DBAPIError | psycopg.Error) -> UnavailableError:
    """Return the error of ours for a database that is away."""
    return UnavailableError(
        f"The database does not answer: {reason_of(error)}. If store.url names it, check that its "
        "server runs and that user, password and database are right; `strop doctor` checks again."
    )


def _no_address() -> ConfigurationError:
    return ConfigurationError(
        "store.url is no address of a PostgreSQL database. Write "
        "postgresql://user:password@host:port/database, special characters as %XX."
    )
