"""How fast a crowd gets through, and how long whoever comes now would wait: pure arithmetic."""

from math import exp
from typing import Final

import msgspec

_MEMORY_SECONDS: Final = 10.0
_SHORTEST_RETRY_SECONDS: Final = 1.0
_UNKNOWN_RETRY_SECONDS: Final = 5.0
_LONGEST_RETRY_SECONDS: Final = 60.0


class DrainRate(msgspec.Struct, frozen=True):
    """Requests that ended, the older the less they count: what was 7 s ago counts half."""

    began_at: float
    """Seconds of the clock, as all times here."""
    weight: float = 0.0
    as_of: float = 0.0

    def after_one_more(self, now: float) -> "DrainRate":
        """Return the rate after a request that ended now."""
        return DrainRate(self.began_at, self._weight_at(now) + 1, now)

    def per_second(self, now: float) -> float:
        """Return how many end a second; 0 before the first one."""
        # Divided by the part of the memory that there was time to fill.
        filled = _MEMORY_SECONDS * (1 - exp(-(now - self.began_at) / _MEMORY_SECONDS))
        return self._weight_at(now) / filled if filled > 0 else 0.0

    def _weight_at(self, now: float) -> float:
        return self.weight * exp((self.as_of - now) / _MEMORY_SECONDS)


def expected_wait(num_before: int, per_second: float) -> float | None:
    """Return the seconds until it is the turn of one with `num_before` others before it.

    Returns:
        None where nothing is known, because nothing has ended lately.
    """
    return (num_before + 1) / per_second if per_second > 0 else None


def retry_after(num_waiting: int, per_second: float) -> float:
    """Return in how many seconds those who wait now will be through, between 1 and 60."""
    wait = expected_wait(num_waiting, per_second)
    if wait is None:
        return _UNKNOWN_RETRY_SECONDS
    return min(max(wait, _SHORTEST_RETRY_SECONDS), _LONGEST_RETRY_SECONDS)
