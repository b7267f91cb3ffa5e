"""How long a queue takes is told from how long requests keep their places."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.routing.pace import Pace, expected_wait, retry_after

SECONDS = st.floats(0, 600)


def after(*seconds: float) -> Pace:
    """Return the pace after requests that kept their places for so long."""
    pace = Pace()
    for each in seconds:
        pace = pace.after(each)
    return pace


@given(st.lists(SECONDS, min_size=1, max_size=20))
def test_the_first_count_alike(seconds: list[float]) -> None:
    """Their plain mean; of places, each becomes free as much sooner as there are more."""
    mean = sum(seconds) / len(seconds)
    assert after(*seconds).mean_seconds == pytest.approx(mean)
    assert after(*seconds).seconds_each(4, 0.0) == pytest.approx(mean / 4)


@given(SECONDS, SECONDS)
def test_what_was_long_ago_is_forgotten(before: float, since: float) -> None:
    """After a hundred others it counts for less than a hundredth."""
    pace = after(*[before] * 20, *[since] * 100)
    assert pace.mean_seconds == pytest.approx(since, abs=abs(before - since) / 100 + 1e-9)


@given(SECONDS, st.integers(0, 100), SECONDS)
def test_a_standstill_is_noticed(mean: float, num_at_work: int, standing: float) -> None:
    """A crowd behind a dead engine is sent away, however fast it was; a batch at work is none."""
    expected = standing if standing > mean else mean / max(num_at_work, 1)
    assert after(mean).seconds_each(num_at_work, standing) == expected


def test_nothing_known_is_no_forecast() -> None:
    """Before anything has ended nobody is sent away for slowness."""
    assert Pace().seconds_each(4, 60.0) is None
    assert expected_wait(10, None) is None
    assert retry_after(10, None) == 5


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.floats(0, 1e4))
def test_more_before_you_means_later(one: int, other: int, seconds_each: float) -> None:
    """Retry-After never falls as the queue grows, and stays between a second and a minute."""
    fewer, more = sorted((one, other))
    assert 1 <= retry_after(fewer, seconds_each) <= retry_after(more, seconds_each) <= 60
    assert expected_wait(more, seconds_each) == (more + 1) * seconds_each
