"""When things are due. The only file that knows APScheduler.

APScheduler says *when*; what is due runs in the worker's own tasks. So a run is never cancelled by
the scheduler's shutdown, never overlaps itself, and ticks that it misses become one.
"""

from collections.abc import Callable
from datetime import UTC

from apscheduler.schedulers.asyncio import AsyncIOScheduler


class Schedule:
    """Calls back every so many seconds, in UTC, while started."""

    def __init__(self) -> None:
        self._scheduler = AsyncIOScheduler(
            timezone=UTC,
            # After a pause (a laptop that slept, a clock that jumped): once, however late.
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )

    def every(self, seconds: float, due: Callable[[], None]) -> None:
        """Call `due` every `seconds`; it has to return at once."""

        async def tick() -> None:
            due()

        self._scheduler.add_job(tick, "interval", seconds=seconds)

    def start(self) -> None:
        """Begin; needs a running event loop."""
        self._scheduler.start()

    def stop(self) -> None:
        """Call nothing any more."""
        self._scheduler.shutdown(wait=False)
