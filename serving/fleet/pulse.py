"""When a child counts as wedged: its process lives, was well once, and does not answer any more."""

from dataclasses import dataclass
from typing import Final

_MIN_UNANSWERED: Final = 3
"""Else one question that we ourselves were slow to ask the next of would be enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """What was heard of a child since it was well; times in seconds of one monotonic clock."""

    silent_since: float | None = None
    """When the first question was asked to which there was no good answer."""
    num_unanswered: int = 0

    def after(self, *, asked_at: float, is_well: bool) -> "Pulse":
        """Return the pulse after one more question."""
        if is_well:
            return Pulse()
        since = asked_at if self.silent_since is None else self.silent_since
        return Pulse(silent_since=since, num_unanswered=self.num_unanswered + 1)

    def is_lost(self, *, now: float, patience_seconds: float) -> bool:
        """Whether the child has been silent for too long."""
        if self.silent_since is None or self.num_unanswered < _MIN_UNANSWERED:
            return False
        return now - self.silent_since >= patience_seconds
