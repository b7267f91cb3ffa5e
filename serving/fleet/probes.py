"""The probes under way: beside the looks, which they do not hold up."""

import asyncio
from collections.abc import Callable, Coroutine, Set
from typing import Any


class Probes:
    """One probe at a time for each replica and adapter."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, str], asyncio.Task[None]] = {}

    def begin(self, url: str, adapter: str, probe: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin a probe, unless one of this adapter on this replica is under way.

        Args:
            probe: sees to its own failures.
        """
        key = url, adapter
        if key in self._running:
            return
        task = asyncio.create_task(probe(), name=f"probe {adapter} on {url}")
        self._running[key] = task
        task.add_done_callback(lambda _: self._running.pop(key))

    def drop(self, url: str, keep: Set[str] = frozenset()) -> None:
        """Cut off the probes on a replica, but for those of the adapters to `keep`."""
        for (at, adapter), task in self._running.items():
            if at == url and adapter not in keep:
                task.cancel()

    async def close(self) -> None:
        """Cut off all of them, and see them end."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
