"""The month that budgets are for."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from gateway.quota.calendar import Calendar
from serving.routing.catalog import month_begin, month_number

MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(st.lists(MOMENTS, min_size=1, max_size=5))
def test_it_is_the_clocks_month_wherever_it_is_set(moments: list[datetime]) -> None:
    """Also back: a machine may wake in the wrong month, until it asks for the time."""
    now = moments[0]
    calendar = Calendar(lambda: now.timestamp())
    for now in moments:
        assert calendar.month == month_number(now)
        ends_at = now + timedelta(seconds=calendar.seconds_left)
        assert abs(ends_at - month_begin(month_number(now) + 1)) < timedelta(milliseconds=1)
