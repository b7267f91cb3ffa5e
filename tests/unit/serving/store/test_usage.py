"""What was used, summed up as the journal is ingested: once, by month, key, alias and pool."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from sqlmodel import select

from serving.journal.ingest import ingest
from serving.journal.records import Begin, End
from serving.journal.writer import JournalWriter
from serving.routing.catalog import MonthlyUsage, Quota, month_number
from serving.sections import JournalSettings
from serving.settings import Settings
from serving.store.access import Usage
from serving.store.aliases import create_alias, id_of, set_alias
from serving.store.catalog import load_catalog
from serving.store.database import Database
from serving.store.keys import create_key
from serving.store.tables import utc_now
from serving.store.usage import first_day, tokens_by_key, tokens_of_key, usage_by_alias
from serving.types import InferenceStatus, Role, Task
from tests.journal import make_begin, make_end


async def take_in(database: Database, folder: Path, *records: Begin | End) -> None:
    """Journal records, as one worker would, and ingest them."""
    writer = JournalWriter(folder, JournalSettings(), f"worker-{folder.name}")
    for record in records:
        writer.append(record)
    writer.close()
    await ingest(database, folder)


async def used(database: Database) -> list[dict[str, Any]]:
    """Return what is in the table, without the month."""
    async with database.session() as session:
        rows = await session.exec(select(Usage).order_by(Usage.key_id, Usage.alias_id))
        return [row.model_dump(exclude={"month"}) for row in rows]


async def test_tokens_are_counted_once_when_an_inference_ends(
    database: Database, tmp_path: Path
) -> None:
    """Whether its end comes with its begin or later, and however often it comes."""
    first = make_begin(key_id="a", alias_id=7)
    second = make_begin(key_id="a", alias_id=7)
    base = make_begin(key_id="b")
    await take_in(database, tmp_path / "1", first, make_end(first), second, base)
    await take_in(database, tmp_path / "2", make_end(second, busy_ms=20.0), make_end(base))
    await take_in(database, tmp_path / "3", first, make_end(first), make_end(second, busy_ms=20.0))
    assert await used(database) == [
        {"key_id": "a", "alias_id": 7, "pool": "default", "tokens": 16, "busy_ms": 20.0},
        {"key_id": "b", "alias_id": 0, "pool": "default", "tokens": 8, "busy_ms": 0.0},
    ]


async def test_what_a_shutdown_cut_short_is_counted_once(
    database: Database, tmp_path: Path
) -> None:
    """Its end says `interrupted`; a copy of that end under another name is no news."""
    begin = make_begin(key_id="a")
    end = make_end(begin, status=InferenceStatus.INTERRUPTED, busy_ms=20.0)
    await take_in(database, tmp_path / "1", begin, end)
    await take_in(database, tmp_path / "2", begin, end)
    (row,) = await used(database)
    assert (row["tokens"], row["busy_ms"]) == (8, 20.0)


async def test_hanging_up_is_no_way_around_a_budget(database: Database, tmp_path: Path) -> None:
    """Without the engine's word, 4 bytes of request and answer are a token; an error costs none."""
    gone, failed = make_begin("x" * 4000, key_id="gone"), make_begin(key_id="failed")
    await take_in(
        database,
        tmp_path,
        gone,
        make_end(gone, status=InferenceStatus.CLIENT_ABORTED, response=b""),
        failed,
        make_end(failed, status=InferenceStatus.UPSTREAM_ERROR, response=b""),
    )
    (row,) = await used(database)
    assert row["key_id"] == "gone"
    assert 1000 < row["tokens"] < 1050


async def test_the_catalogue_says_what_is_used_of_budgets(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    """Of this month, and only where there is a budget: those are few."""
    async with database.session() as session:
        alias = await create_alias(session, settings, name="a", tenant="acme", task=Task.CHAT)
        other = await create_alias(session, settings, name="b", tenant="acme", task=Task.CHAT)
        await set_alias(session, alias, budget=100)
        limited, _ = await create_key(
            session, role=Role.APP, tenant="acme", name="web", quota=Quota(budget=50)
        )
        free, _ = await create_key(session, role=Role.APP, tenant="acme", name="web")
    begins = [
        make_begin(key_id=limited.id, alias_id=id_of(alias)),
        make_begin(key_id=free.id, alias_id=id_of(alias)),
        make_begin(key_id=free.id, alias_id=id_of(other)),
    ]
    ends = [make_end(begin) for begin in begins]
    await take_in(database, tmp_path, *begins, *ends)
    async with database.session() as session:
        session.add(Usage(month=date(2020, 1, 1), key_id=limited.id, alias_id=0, pool="p"))
        usage = (await load_catalog(session)).usage
        per_alias = await usage_by_alias(session)
        per_key = await tokens_by_key(session)
        of_keys = [await tokens_of_key(session, key_id) for key_id in (*per_key, "unused")]
    assert usage == MonthlyUsage(
        month=month_number(utc_now()), by_key={limited.id: 8}, by_alias={id_of(alias): 16}
    )
    assert [(each.alias_id, each.tokens) for each in per_alias] == [
        (id_of(alias), 16),
        (id_of(other), 8),
    ]
    assert per_key == {limited.id: 8, free.id: 16}
    assert of_keys == [*per_key.values(), 0]


def test_months_are_those_of_utc() -> None:
    """Whatever the moment's own zone says."""
    eve = datetime.fromisoformat("2026-12-31T23:30:00-02:00")
    assert first_day(eve) == datetime(2027, 1, 1, tzinfo=UTC).date()
    assert month_number(eve) == 12 * 2027
