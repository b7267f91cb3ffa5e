"""How long a queue takes is told from how fast requests ended lately."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.routing.drain import DrainRate, expected_wait, retry_after


def drained(per_second: float, seconds: float) -> DrainRate:
    """Return the rate of a crowd that gets through evenly."""
    rate = DrainRate(began_at=0.0)
    for number in range(1, round(per_second * seconds) + 1):
        rate = rate.after_one_more(number / per_second)
    return rate


@given(st.floats(1, 50), st.floats(5, 20))
def test_an_even_stream_is_told_as_it_is(per_second: float, seconds: float) -> None:
    """After five seconds as later, within a few per cent and one request."""
    found = drained(per_second, seconds).per_second(seconds)
    assert found == pytest.approx(per_second, rel=0.1, abs=0.35)


def test_a_standstill_is_noticed() -> None:
    """Half of it is forgotten in 7 seconds: a crowd behind a dead engine is sent away soon."""
    rate = drained(100, 30)
    assert rate.per_second(37) == pytest.approx(50, rel=0.1)
    assert rate.per_second(90) < 0.5


def test_nothing_known_is_no_forecast() -> None:
    """Before anything has ended nobody is sent away for slowness."""
    assert expected_wait(10, DrainRate(began_at=0.0).per_second(0.0)) is None
    assert expected_wait(10, DrainRate(began_at=0.0).per_second(5.0)) is None
    assert retry_after(10, 0.0) == 5


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.floats(0.001, 1e4))
def test_more_before_you_means_later(one: int, other: int, per_second: float) -> None:
    """Retry-After never falls as the queue grows, and stays between a second and a minute."""
    fewer, more = sorted((one, other))
    assert 1 <= retry_after(fewer, per_second) <= retry_after(more, per_second) <= 60
    wait = expected_wait(more, per_second)
    assert wait is not None
    assert wait >= (more + 1) / per_second * 0.999
