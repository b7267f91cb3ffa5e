"""What learning works with: one value, handed to every step."""

import time
from collections import defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

import httpx

from retrain.executor import Executor
from retrain.triggers import Stock
from serving.fleet.engine import Engine
from serving.pause import pause_seconds
from serving.settings import Settings
from serving.store.database import Database


@dataclass(slots=True)
class Patience:
    """With a run whose step fails: it is taken again after pauses that grow, but not for ever."""

    num_failures: int = 0
    """In a row."""
    due_at: float = 0.0
    """When the step is taken again, by `time.monotonic()`."""

    @property
    def is_due(self) -> bool:
        """Whether the pause is over."""
        return time.monotonic() >= self.due_at

    def fail(self) -> None:
        """Count a failure, and begin a pause."""
        self.num_failures += 1
        self.due_at = time.monotonic() + pause_seconds(self.num_failures)


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
    patience: defaultdict[int, Patience] = field(default_factory=lambda: defaultdict(Patience))
    """Run id -> with those whose last step failed."""
