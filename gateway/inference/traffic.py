"""What is running now, by adapter: an engine forgets none that is in use."""

from collections import Counter


class Traffic:
    """Counts of this worker's running requests."""

    def __init__(self) -> None:
        self._by_adapter: Counter[str] = Counter()

    def enter(self, adapter: str | None) -> None:
        """Count a request; the base's are counted, too, but not by name."""
        self._by_adapter[adapter or ""] += 1

    def leave(self, adapter: str | None) -> None:
        """Count it no more."""
        key = adapter or ""
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
