"""What is running now, by adapter: an engine forgets none that is in use."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Traffic:
    """Counts of this worker's running requests."""

    def __init__(self) -> None:
        self._by_adapter: Counter[str] = Counter()

    @contextmanager
    def admitted(self, adapter: str | None) -> Iterator[None]:
        """Count a request from its choice to its end; the base needs no counting."""
        key = adapter or ""
        self._by_adapter[key] += 1
        try:
            yield
        finally:
            self._by_adapter[key] -= 1
            if not self._by_adapter[key]:
                del self._by_adapter[key]

    @property
    def num_running(self) -> int:
        """Requests between choice and end."""
        return self._by_adapter.total()

    @property
    def per_adapter(self) -> dict[str, int]:
        """Adapter name -> requests running on it."""
        return {name: count for name, count in self._by_adapter.items() if name}
