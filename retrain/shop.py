"""What learning works with: one value, handed to every step."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

import httpx

from retrain.executor import Executor
from retrain.triggers import Stock
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
    stocks: dict[int, tuple[Hashable, Stock]] = field(default_factory=dict)
    """Alias id -> its stock at the last look, and what it was counted from."""
