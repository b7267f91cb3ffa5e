"""When things are due. The only file that knows APScheduler.

    Schedule    calls back every so many seconds
    next_turn   when a cron expression fires next

APScheduler says *when*; what is due runs in the worker's own tasks. So a run is never cancelled by
the scheduler's shutdown, never overlaps itself, and ticks that it misses become one.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger

_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WEEKDAY_NUMBER = re.compile(r"(?<![\d/])[0-7](?!\d)")


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


def next_turn(cron: str, at: datetime) -> datetime | None:
    """Return when five cron fields fire next, at `at` or later; None if never.

    Weekdays count as cron counts them, 0 and 7 being Sunday; APScheduler counts from Monday.

    Args:
        at: aware; the fields are read in its zone.

    Raises:
        ValueError: the fields are none.
    """
    *fields, weekdays = cron.split(" ")
    named = _WEEKDAY_NUMBER.sub(lambda found: _WEEKDAYS[int(found.group())], weekdays)
    trigger = CronTrigger.from_crontab(" ".join((*fields, named)), timezone=at.tzinfo)
    turn: datetime | None = trigger.get_next_fire_time(None, at)
    return turn
