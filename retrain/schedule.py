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

_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DAY = rf"[0-7]|{'|'.join(_WEEKDAYS)}"
_DAYS = re.compile(rf"(?:\*|({_DAY})-({_DAY}))(?:/([1-9]\d*))?|({_DAY})", re.IGNORECASE)
"""`*` or a range, and perhaps every so many of it; or one day."""


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

    Where day and weekday are both given, both have to match; cron takes either.

    Args:
        at: aware; the fields are read in its zone.

    Raises:
        ValueError: the fields are none.
    """
    *fields, weekdays = cron.split(" ")
    named = ",".join(weekday_names(weekdays))
    trigger = CronTrigger.from_crontab(" ".join((*fields, named)), timezone=at.tzinfo)
    turn: datetime | None = trigger.get_next_fire_time(None, at)
    return turn


def weekday_names(field: str) -> list[str]:
    """Return the days that cron's fifth field means: it counts from Sunday, APScheduler from Monday.

    0 and 7 are Sunday; a range may go round the week's end.

    Raises:
        ValueError: the field means none.
    """
    numbers = {number % 7 for part in field.split(",") for number in _weekdays_in(part)}
    return [_WEEKDAYS[number] for number in sorted(numbers)]


def _weekdays_in(part: str) -> range:
    found = _DAYS.fullmatch(part)
    if found is None:
        raise ValueError(f"{part!r} is no weekday, and no range of them")
    first, last, step, only = found.groups()
    if only:
        return range(_number_of(only), _number_of(only) + 1)
    begin, end = (_number_of(first), _number_of(last)) if first else (0, 6)
    return range(begin, end + 1 if begin <= end else end + 8, int(step or 1))


def _number_of(day: str) -> int:
    return int(day) if day.isdigit() else _WEEKDAYS.index(day.lower())
