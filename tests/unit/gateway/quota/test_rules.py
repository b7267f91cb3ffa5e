"""Quotas as arithmetic: never more than a limit and a burst, and nobody waits for ever."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.quota.rules import (
    MINUTE_NS,
    given_back,
    left,
    missing_ns,
    reservable,
    taken,
    wait_ns,
)

SECOND = 10**9
limits = st.integers(1, 10**6)
gaps = st.lists(st.integers(0, 90 * SECOND), min_size=1, max_size=40)


@given(limit=limits, gaps=gaps, tries=st.integers(1, 30))
def test_no_window_sees_more_than_limit_and_burst(limit: int, gaps: list[int], tries: int) -> None:
    """In any t minutes at most `limit * (t + 1)` requests begin, however they are spread."""
    full_at, now = 0, 10**15
    admitted: list[int] = []
    for gap in gaps:
        now += gap
        for _ in range(tries):
            full_with_it = taken(full_at, now, limit, 1)
            if not wait_ns(full_with_it, now):
                full_at = full_with_it
                admitted.append(now)
    for first, begin in enumerate(admitted):
        for last in range(first, len(admitted)):
            count = last - first + 1
            # Each of them may have come 1 ns early: the arithmetic is in whole nanoseconds.
            stretch = admitted[last] - begin + MINUTE_NS + count
            assert count * MINUTE_NS <= limit * stretch


@given(limit=limits, full_at=st.integers(0, 10**16), now=st.integers(0, 10**16), cost=limits)
def test_whoever_waits_as_told_is_served(limit: int, full_at: int, now: int, cost: int) -> None:
    """The wait that a refusal names is the shortest, and after it the request fits."""
    cost = min(cost, limit)
    wait = wait_ns(taken(full_at, now, limit, cost), now)
    assert not wait_ns(taken(full_at, now + wait, limit, cost), now + wait)
    if wait:
        just_before = now + wait - 1
        assert wait_ns(taken(full_at, just_before, limit, cost), just_before) == 1
    assert left(missing_ns(full_at, now + wait), limit) >= cost - 1


@given(limit=limits, debt=st.integers(0, 10**7))
def test_a_debt_is_paid_by_waiting(limit: int, debt: int) -> None:
    """A request that used more than was there holds the next ones up, and not for ever."""
    now = 10**15
    full_at = taken(0, now, limit, limit + debt)
    assert left(missing_ns(full_at, now), limit) == 0
    assert not wait_ns(taken(full_at, full_at, limit, limit), full_at)


@given(limit=limits, missing=st.integers(0, MINUTE_NS), cost=limits, others=limits)
def test_what_is_given_back_was_never_taken(
    limit: int, missing: int, cost: int, others: int
) -> None:
    """Whatever others take meanwhile; to the nanosecond in a bucket that was not full."""
    now = 10**15
    without = taken(now + missing, now, limit, others)
    full_at = taken(taken(now + missing, now, limit, cost), now, limit, others)
    assert given_back(full_at, limit, cost) == without


class TokenKey:
    """A key with `tpm` as admissions treat it: reserve, run, settle."""

    def __init__(self, tpm: int) -> None:
        self.tpm = tpm
        self.full_at = 0
        self.running: list[int] = []

    def ask(self, now: int, num_tokens: int) -> bool:
        """Begin a request if it may."""
        reserved = reservable(self.tpm, num_tokens)
        together = sum(self.running) + reserved
        is_admitted = not wait_ns(taken(self.full_at, now, self.tpm, together), now)
        if is_admitted:
            self.running.append(reserved)
        return is_admitted

    def settle(self, now: int, share: float) -> int:
        """End the oldest request; return what it used, at most what it reserved."""
        used = int(self.running.pop(0) * share)
        self.full_at = taken(self.full_at, now, self.tpm, used)
        return used


steps = st.lists(
    st.tuples(
        st.integers(0, 40 * SECOND),
        st.booleans(),
        st.integers(1, 2000),
        st.floats(0, 1),
    ),
    min_size=1,
    max_size=60,
)


@given(tpm=st.integers(1, 3000), steps=steps)
def test_tokens_used_stay_within_the_bound_too(
    tpm: int, steps: list[tuple[int, bool, int, float]]
) -> None:
    """However requests overlap, and whatever of their reservation they give back."""
    key, now = TokenKey(tpm), 10**15
    used: list[tuple[int, int]] = []
    for gap, is_asking, num_tokens, share in steps:
        now += gap
        if is_asking:
            key.ask(now, num_tokens)
        elif key.running:
            used.append((now, key.settle(now, share)))
    for first in range(len(used)):
        total = 0
        for last in range(first, len(used)):
            total += used[last][1]
            stretch = used[last][0] - used[first][0] + MINUTE_NS + len(used)
            assert total * MINUTE_NS <= tpm * stretch


@given(tpm=limits, num_tokens=st.integers(0, 10**9))
def test_an_idle_key_is_always_served(tpm: int, num_tokens: int) -> None:
    """However large the request, and however small the limit: it reserves all there is."""
    key = TokenKey(tpm)
    assert key.ask(10**15, num_tokens)
