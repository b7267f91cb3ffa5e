"""Which days are due, and nothing of a day that is not."""

from datetime import UTC, date, datetime, timedelta, timezone

import psycopg
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from serving.ids import lowest_id
from serving.store.catalog import load_catalog
from serving.store.database import Database
from serving.store.retention import Hanging, first_kept_day, midnight_of, note_purge, which
from tests.journal import id_at

ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
NOW = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=ZONES)  # noqa: DTZ001
RETENTION = st.integers(1, 1000)
MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(now=NOW, retention_days=RETENTION, age=st.integers(-3, 1100))
def test_a_day_is_due_once_it_ended_so_many_days_ago(
    now: datetime, retention_days: int, age: int
) -> None:
    """Never before, wherever the clock that is asked stands; and then at once."""
    day = now.astimezone(UTC).date() - timedelta(days=age)
    ended_at = midnight_of(day + timedelta(days=1))
    is_due = day < first_kept_day(now, retention_days)
    assert is_due == (now - ended_at >= timedelta(days=retention_days))


@given(moment=MOMENTS, day=st.dates(date(1970, 1, 2), date(2100, 1, 1)))
def test_an_id_is_of_an_earlier_day_by_its_text(moment: datetime, day: date) -> None:
    """What is compared is the text alone, to the millisecond."""
    midnight = midnight_of(day)
    for at in (moment, midnight, midnight - timedelta(milliseconds=1)):
        at = at.replace(microsecond=at.microsecond // 1000 * 1000)
        assert (id_at(at) < lowest_id(midnight)) == (at < midnight)


def test_a_time_before_all_ids_is_before_all_ids() -> None:
    """Whoever asks for the year 1 gets nothing deleted, and no error."""
    assert lowest_id(midnight_of(date(1, 1, 1))) <= id_at(datetime(1970, 1, 1, tzinfo=UTC))


async def test_ratings_are_found_by_time_in_any_language(database: Database) -> None:
    """In Czech, digits come after letters: an index in that order would miss what is due."""
    table, condition = which(Hanging.RATINGS, date(2026, 3, 1))
    query = sql.SQL("EXPLAIN SELECT FROM {} WHERE {}").format(table, condition)
    async with await psycopg.AsyncConnection.connect(database.url) as connection:
        await connection.execute("SET enable_seqscan = off")
        plan = "\n".join(row[0] for row in await (await connection.execute(query)).fetchall())
    assert "ix_strop_feedback_inference_time" in plan
    assert "Filter" not in plan


async def test_gateways_hear_what_was_purged(database: Database) -> None:
    """Once, and no later purge of earlier days takes it back."""
    first, second = date(2026, 3, 1), date(2026, 3, 2)
    found = []
    for before in (first, second, second, first):
        async with database.session() as session:
            await note_purge(session, before)
        async with database.session() as session:
            catalog = await load_catalog(session)
        found.append((catalog.kept_since, catalog.revision))
    revision = found[0][1]
    assert found == [
        (midnight_of(first), revision),
        *[(midnight_of(second), revision + 1)] * 3,
    ]
