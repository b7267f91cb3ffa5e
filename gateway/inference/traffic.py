"""What is running now: per replica, to pick the least busy; per adapter, to unload none in use."""

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager


class Traffic:
    """Counts of this worker's running requests."""

    def __init__(self) -> None:
        self._by_replica: Counter[str] = Counter()
        self._by_adapter: Counter[str] = Counter()

    @contextmanager
    def admitted(self, adapter: str | None) -> Iterator[None]:
        """Count a request from its choice to its end; the base needs no counting."""
        with _counted(self._by_adapter, adapter or ""):
            yield

    @contextmanager
    def at(self, replica: str) -> Iterator[None]:
        """Count a request while a replica works on it."""
        with _counted(self._by_replica, replica):
            yield

    def least_busy(self, replicas: Collection[str]) -> str | None:
        """Return the replica with the fewest requests of ours; None of none."""
        return min(replicas, key=self._by_replica.__getitem__, default=None)

    @property
    def num_running(self) -> int:
        """Requests between choice and end."""
        return self._by_adapter.total()

    @property
    def per_adapter(self) -> dict[str, int]:
        """Adapter name -> requests running on it."""
        return {name: count for name, count in self._by_adapter.items() if name}


@contextmanager
def _counted(counts: Counter[str], key: str) -> Iterator[None]:
    counts[key] += 1
    try:
        yield
    finally:
        counts[key] -= 1
        if not counts[key]:
            del counts[key]
