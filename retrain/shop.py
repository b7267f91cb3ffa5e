"""What learning works with: one value, handed to every step."""

from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from retrain.executor import Executor
from serving.fleet.engine import Engine
from serving.settings import Settings
from serving.store.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """The workshop: database, settings, engines, and where trainings run."""

    database: Database
    settings: Settings
    engines: Mapping[str, tuple[Engine, ...]]
    """Pool name -> its replicas."""
    client: httpx.AsyncClient
    executor: Executor
