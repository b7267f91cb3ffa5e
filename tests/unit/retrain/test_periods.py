"""Periods: named by the calendar of a zone, or by the next firing of a cron expression."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.periods import check_schedule, period_of
from retrain.schedule import weekday_names
from serving.errors import InvalidRequestError


@pytest.mark.parametrize(
    ("schedule", "period"),
    [
        ("monthly", "2026-10"),
        ("quarterly", "2026Q4"),
        ("semiannual", "2026H2"),
        ("annual", "2026"),
        ("off", None),
    ],
)
def test_the_calendar_names_the_period(schedule: str, period: str | None) -> None:
    """In the alias's zone: the first of October begins there while UTC has September."""
    at = datetime(2026, 9, 30, 23, 30, tzinfo=UTC)
    assert period_of(schedule, at, "Europe/Berlin") == period
    check_schedule(schedule, "Europe/Berlin")


def test_a_cron_expression_parts_time() -> None:
    """Sunday is 0 and 7; from one firing to the next it is one period, in the zone's own time."""
    saturday = datetime(2026, 11, 21, 12, tzinfo=UTC)
    before = period_of("0 3 * * 0", saturday, "Europe/Berlin")
    assert before == "until 2026-11-22T03:00:00+01:00"
    assert period_of("0 3 * * 7", saturday, "Europe/Berlin") == before
    assert period_of("0 3 * * 0", saturday.replace(day=23), "Europe/Berlin") != before
    assert period_of("0 3 * * 1-5", saturday, "UTC") == "until 2026-11-23T03:00:00+00:00"


@pytest.mark.parametrize(
    ("field", "days"),
    [
        ("*", "sun mon tue wed thu fri sat"),
        ("*/2", "sun tue thu sat"),
        ("0-5", "sun mon tue wed thu fri"),
        ("1-5/2", "mon wed fri"),
        ("5-7", "sun fri sat"),
        ("sat-MON", "sun mon sat"),
        ("7,0,Wed", "sun wed"),
        ("1-1", "mon"),
    ],
)
def test_weekdays_count_as_cron_counts_them(field: str, days: str) -> None:
    """From Sunday, which is 0 and 7; APScheduler takes what comes out."""
    assert weekday_names(field) == days.split()
    check_schedule(f"0 3 * * {field}", "UTC")


@pytest.mark.parametrize("field", ["8", "1-9", "*/0", "1/2", "mon-", "", "1,,2", "monday", "-1"])
def test_what_is_no_weekday_is_refused(field: str) -> None:
    """In place of a day that nobody meant."""
    with pytest.raises(InvalidRequestError):
        check_schedule(f"0 3 * * {field}", "UTC")


@pytest.mark.parametrize(
    ("schedule", "zone"),
    [
        ("yearly", "UTC"),
        ("61 * * * *", "UTC"),
        ("0 0 30 2 *", "UTC"),
        ("quarterly", "Mars/Olympus"),
        ("quarterly", "America"),
        ("quarterly", "../etc/passwd"),
        ("quarterly", ""),
    ],
)
def test_what_is_no_schedule_or_zone_is_refused(schedule: str, zone: str) -> None:
    """With the words of our error, whatever the libraries raise."""
    with pytest.raises(InvalidRequestError):
        check_schedule(schedule, zone)


# From 2020 to 2060, in seconds since 1970.
MOMENTS = st.integers(1_577_836_800, 2_840_140_800).map(
    lambda seconds: datetime.fromtimestamp(seconds, UTC)
)


@given(
    st.sampled_from(["monthly", "quarterly", "semiannual", "annual", "30 2 1 * *"]),
    MOMENTS,
    MOMENTS,
)
def test_a_period_is_one_stretch_of_time(schedule: str, one: datetime, other: datetime) -> None:
    """What lies between two moments of a period belongs to it too."""
    middle = one + (other - one) / 2
    first, last = (period_of(schedule, at, "America/New_York") for at in (one, other))
    if first == last:
        assert period_of(schedule, middle, "America/New_York") == first
