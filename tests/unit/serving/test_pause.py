"""Pauses between attempts grow, and no pause is long."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from serving.pause import pause_seconds


def test_pauses_double_up_to_the_longest() -> None:
    """The first after one failure; the last is the longest, not what doubling would come to."""
    assert [pause_seconds(number, 2, 15) for number in (1, 2, 3, 4, 5)] == [2, 4, 8, 15, 15]
    assert [pause_seconds(number) for number in (1, 2, 3, 7, 1_000_000)] == [0.5, 1, 2, 30, 30]


@given(st.integers(1, 10_000))
def test_pauses_grow_to_a_limit(num_failures: int) -> None:
    """A pause is never shorter than the one before it and never longer than half a minute."""
    pauses = [pause_seconds(number) for number in range(1, min(num_failures, 40) + 1)]
    assert all(earlier <= later <= 30 for earlier, later in pairwise(pauses))
    assert pause_seconds(num_failures) <= 30
