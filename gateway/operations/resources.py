"""What an operation works with: the database, the settings and the engines."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from sqlalchemy.exc import DataError

from serving.errors import InvalidRequestError
from serving.fleet.engine import Engine
from serving.fleet.engines import engines_of
from serving.settings import Settings
from serving.store.database import Database

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Resources:
    """What an operation works with; the command and `/api` hand it the same."""

    database: Database
    settings: Settings
    engines: Mapping[str, tuple[Engine, ...]]
    """Pool name -> its replicas."""


def unfit(error: DataError) -> InvalidRequestError:
    """Return the error of ours for a value that no column of the database can hold."""
    return InvalidRequestError(f"A value of the request cannot be one: {error.orig}.")


@asynccontextmanager
async def open_resources(settings: Settings, url: str) -> AsyncGenerator[Resources]:
    """Yield what operations need; close its connections at the end."""
    database = Database.connect(url, pool_size=3)
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            yield Resources(database, settings, engines_of(settings, client))
    finally:
        await database.close()
