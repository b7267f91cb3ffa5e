"""How fast a crowd gets through, and how long whoever comes now would wait: pure arithmetic."""

from typing import Final

import msgspec

_MEMORY: Final = 20
"""Requests; what ended before so many others hardly counts."""
_SHORTEST_RETRY_SECONDS: Final = 1.0
_UNKNOWN_RETRY_SECONDS: Final = 5.0
_LONGEST_RETRY_SECONDS: Final = 60.0


class Pace(msgspec.Struct, frozen=True):
    """For how long requests kept their places: an exponential mean, the plain one at first.

    Of requests and not of time: that few came for a while makes nobody slower.
    """

    mean_seconds: float = 0.0
    num_seen: int = 0
    """Up to `_MEMORY`."""

    def after(self, seconds: float) -> "Pace":
        """Return the pace after a request that kept its place for so long."""
        num_seen = min(self.num_seen + 1, _MEMORY)
        return Pace(self.mean_seconds + (seconds - self.mean_seconds) / num_seen, num_seen)

    def seconds_each(self, num_at_work: int, standing_seconds: float) -> float | None:
        """Return how long it is from one place becoming free to the next (Little's law).

        Args:
            num_at_work: places that are taken.
            standing_seconds: for how long some have waited and none got a place. What begins together
                ends together: only longer than a request takes is it a standstill, and then the pace.

        Returns:
            None where nothing is known, because nothing has ended yet.
        """
        if not self.num_seen:
            return None
        if standing_seconds > self.mean_seconds:
            return standing_seconds
        return self.mean_seconds / max(num_at_work, 1)


def expected_wait(num_before: int, seconds_each: float | None) -> float | None:
    """Return the seconds until it is the turn of one with `num_before` others before it, if known."""
    return None if seconds_each is None else (num_before + 1) * seconds_each


def retry_after(num_waiting: int, seconds_each: float | None) -> float:
    """Return in how many seconds those who wait now will be through, between 1 and 60."""
    wait = expected_wait(num_waiting, seconds_each)
    if wait is None:
        return _UNKNOWN_RETRY_SECONDS
    return min(max(wait, _SHORTEST_RETRY_SECONDS), _LONGEST_RETRY_SECONDS)
