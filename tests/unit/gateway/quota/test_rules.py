"""Quotas as arithmetic: never more than a limit and a burst, and nobody waits for ever."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.quota.rules import (
    MINUTE_NS,
    Limit,
    Standing,
    decide,
    left,
    reservable,
    taken,
    wait_ns,
)
from serving.routing.catalog import UNLIMITED, Quota

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
            if not wait_ns(full_at, now, limit, 1):
                full_at = taken(full_at, now, limit, 1)
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
    wait = wait_ns(full_at, now, limit, cost)
    assert not wait_ns(full_at, now + wait, limit, cost)
    if wait:
        assert wait_ns(full_at, now + wait - 1, limit, cost) == 1
    assert left(full_at, now + wait, limit) >= cost - 1


@given(limit=limits, debt=st.integers(0, 10**7))
def test_a_debt_is_paid_by_waiting(limit: int, debt: int) -> None:
    """A request that used more than was there holds the next ones up, and not for ever."""
    now = 10**15
    full_at = taken(0, now, limit, limit + debt)
    assert left(full_at, now, limit) == 0
    assert not wait_ns(full_at, full_at, limit, limit)


class TokenKey:
    """A key with `tpm` as admissions treat it: reserve, run, settle."""

    def __init__(self, tpm: int) -> None:
        self.quota = Quota(tpm=tpm)
        self.full_at = 0
        self.running: list[int] = []

    def ask(self, now: int, num_tokens: int) -> bool:
        """Begin a request if it may."""
        reserved = reservable(self.quota, num_tokens)
        standing = Standing(tokens_full_at=self.full_at, num_reserved=sum(self.running))
        is_admitted = decide(self.quota, standing, now, reserved) is None
        if is_admitted:
            self.running.append(reserved)
        return is_admitted

    def settle(self, now: int, share: float) -> int:
        """End the oldest request; return what it used, at most what it reserved."""
        used = int(self.running.pop(0) * share)
        assert self.quota.tpm is not None
        self.full_at = taken(self.full_at, now, self.quota.tpm, used)
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


def test_each_limit_refuses_in_its_turn() -> None:
    """What cannot be waited for within the minute comes first."""
    everything = Quota(rpm=1, tpm=1, concurrency=1, budget=1)
    full = Standing(2 * MINUTE_NS, 2 * MINUTE_NS, num_running=1, num_reserved=1, num_spent=1)
    seen = []
    for name, limit in (
        ("budget", Limit.BUDGET),
        ("concurrency", Limit.CONCURRENCY),
        ("rpm", Limit.REQUESTS),
        ("tpm", Limit.TOKENS),
    ):
        refusal = decide(everything, full, MINUTE_NS, 1)
        assert refusal is not None
        assert refusal.wait_seconds > 0
        seen.append(refusal.limit is limit)
        everything = Quota(
            **{
                key: getattr(everything, key) if key != name else None
                for key in ("rpm", "tpm", "concurrency", "budget")
            }
        )
    assert seen == [True] * 4
    assert decide(UNLIMITED, full, MINUTE_NS, 10**9) is None
