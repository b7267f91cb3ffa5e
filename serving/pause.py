"""How long what failed waits before it is tried again."""

_MOST_DOUBLINGS = 30
"""So that the pause stays a number however often it failed; the longest one comes far earlier."""


def pause_seconds(
    num_failures: int, first_seconds: float = 0.5, longest_seconds: float = 30.0
) -> float:
    """Return the pause after the n-th failure in a row: doubled each time, up to the longest."""
    return min(first_seconds * 2.0 ** min(num_failures - 1, _MOST_DOUBLINGS), longest_seconds)
