"""The month that budgets are for."""

from collections.abc import Callable
from datetime import UTC, datetime

from serving.routing.catalog import month_begin, month_number


class Calendar:
    """Knows the month without working it out each time; clocks may be set, also back.

    Args:
        clock: seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._month = 0
        self._begins_at = self._ends_at = 0.0

    @property
    def month(self) -> int:
        """The month that it is now (UTC); see `month_number`."""
        now = self._clock()
        if not self._begins_at <= now < self._ends_at:
            self._month = month_number(datetime.fromtimestamp(now, UTC))
            self._begins_at = month_begin(self._month).timestamp()
            self._ends_at = month_begin(self._month + 1).timestamp()
        return self._month

    @property
    def seconds_left(self) -> float:
        """Until the next month begins."""
        return month_begin(self.month + 1).timestamp() - self._clock()
