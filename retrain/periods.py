"""Periods: which one a moment belongs to. Work is due when a period has turned, however late."""

import re
from datetime import datetime
from zoneinfo import ZoneInfo

from retrain.schedule import next_turn
from serving.errors import InvalidRequestError

NAMED = ("monthly", "quarterly", "semiannual", "annual", "off")
MAX_CHARACTERS = 64
_CRON = re.compile(r"^\S+ \S+ \S+ \S+ \S+$")


def period_of(schedule: str, at: datetime, zone: str) -> str | None:
    """Return the name of the period that holds `at`, such as `2026Q4`; None if there are none.

    Two moments are in the same period exactly when their names are equal, so a process that was
    down at the turn notices it whenever it looks again.

    Args:
        schedule: one of NAMED, or five cron fields, whose firing times part the periods.
        at: an aware time.
        zone: an IANA zone in which the calendar is read.

    Raises:
        InvalidRequestError: the schedule or the zone is neither.
    """
    local = at.astimezone(_zone(zone))
    match schedule:
        case "off":
            return None
        case "monthly":
            return f"{local.year}-{local.month:02}"
        case "quarterly":
            return f"{local.year}Q{(local.month + 2) // 3}"
        case "semiannual":
            return f"{local.year}H{(local.month + 5) // 6}"
        case "annual":
            return f"{local.year}"
    return _cron_period(schedule, local)


def check_schedule(schedule: str, zone: str) -> None:
    """Refuse what `period_of` could not read.

    Raises:
        InvalidRequestError: the schedule or the zone is unknown, or the schedule never fires.
    """
    if len(schedule) > MAX_CHARACTERS:
        raise InvalidRequestError(f"The schedule is longer than {MAX_CHARACTERS} characters.")
    if period_of(schedule, datetime.now(_zone(zone)), zone) is None and schedule != "off":
        raise InvalidRequestError(f"The schedule {schedule!r} never fires. `off` says so plainly.")


def _cron_period(schedule: str, local: datetime) -> str | None:
    if not _CRON.match(schedule):
        raise InvalidRequestError(
            f"The schedule {schedule!r} is none of {', '.join(NAMED)}, and no five cron fields."
        )
    try:
        turn = next_turn(schedule, local)
    except ValueError as error:
        raise InvalidRequestError(f"The schedule {schedule!r}: {error}.") from error
    return f"until {turn.isoformat()}" if turn else None


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # OSError: a folder of zones, "America"
        raise InvalidRequestError(f"There is no time zone {name!r}.") from error
