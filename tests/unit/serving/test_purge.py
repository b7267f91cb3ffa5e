"""A purge: old days go with what hangs on them, everything else stays, and nobody is held up."""

import asyncio
import os
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path

import pytest
from sqlmodel import select

from serving.errors import UnavailableError
from serving.journal.ingest import ingest
from serving.journal.records import SUFFIX
from serving.journal.segments import DAMAGED, REJECTED, list_rejected
from serving.purge import look_ahead, purge, purge_expired
from serving.sections import StoreSettings
from serving.settings import Settings
from serving.store import partitions
from serving.store.access import Usage
from serving.store.database import Database
from serving.store.learning import Dataset, DatasetRow, Part, Source
from serving.store.partitions import detach, list_days
from serving.store.retention import Hanging, midnight_of
from serving.store.tables import Inference, utc_now
from tests.journal import read_inferences
from tests.purging import (
    all_of,
    become_leaving,
    is_leaving,
    read_kept,
    record_day,
    record_days,
    write_day,
)

DAY = timedelta(days=1)
LAST = date(2026, 3, 1)
"""The last day that goes."""
DAYS = [LAST - DAY, LAST, LAST + DAY, LAST + 2 * DAY]
BEFORE = LAST + DAY


async def test_old_days_go_and_the_next_one_stays(database: Database, tmp_path: Path) -> None:
    """To the millisecond, with ratings, reviews and segments; datasets and usage stay."""
    alias_id = await record_days(database, tmp_path, DAYS)
    used = await read_usage(database)
    await freeze_dataset(database, alias_id)
    ahead = await look_ahead(database, tmp_path, BEFORE)
    assert await read_kept(database) == all_of(DAYS)
    purged = await purge(database, tmp_path, BEFORE)
    assert purged == ahead
    assert purged.days == {LAST - DAY: 2, LAST: 2}
    assert purged.hanging == {Hanging.RATINGS: 4, Hanging.REVIEWS: 4, Hanging.SEGMENTS: 2}
    assert await read_kept(database) == all_of(DAYS[2:])
    assert await read_usage(database) == used != []
    async with database.session() as session:
        assert len((await session.exec(select(DatasetRow))).all()) == len(DAYS) * 2
    again = await purge(database, tmp_path, BEFORE)
    assert (again.has_run, again.days, any(again.hanging.values())) == (True, {}, False)


async def test_nobody_is_held_up_and_a_pass_cut_off_is_ended(
    database: Database, tmp_path: Path
) -> None:
    """While an old transaction is waited for, others read, and ingest brings rows of new days too."""
    await record_days(database, tmp_path, DAYS)
    today = utc_now().date()
    async with asyncio.timeout(60), database.session() as reader:
        await reader.exec(select(Inference.id))
        purging = asyncio.create_task(purge(database, tmp_path, BEFORE))
        await become_leaving(database, LAST - DAY)
        assert len(await read_inferences(database)) == 2 * len(DAYS) - 2
        await record_day(database, tmp_path, today)
        assert len(await read_inferences(database)) == 2 * len(DAYS)
        purging.cancel()
        with suppress(asyncio.CancelledError, UnavailableError):
            await purging
    assert await is_leaving(database, LAST - DAY)
    await purge(database, tmp_path, BEFORE)
    kept = await read_kept(database)
    assert kept.tables == kept.inferences == kept.ratings == [*DAYS[2:], today]


async def test_a_day_that_is_still_read_is_left_to_the_next_pass(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for, but not for ever: whoever makes a new day's partition may wait behind.

    Rows of it that come then have nowhere to go, and hold up no others.
    """
    monkeypatch.setattr(partitions, "_PATIENCE_MS", 50)
    await record_days(database, tmp_path, DAYS)
    async with database.session() as reader:
        await reader.exec(select(Inference.id))
        for _ in range(2):  # at first it is detached, and then what was begun is to be ended
            stuck = (await purge(database, tmp_path, BEFORE)).stuck
            assert str(LAST - DAY) in str(stuck)
        assert (await read_kept(database)).reviews == DAYS[2:]  # what hangs on it goes at once
        late = write_day(tmp_path, LAST - DAY, name="late")
        assert (await ingest(database, tmp_path)).num_rejected == 2 * late  # begins and ends
        assert len(list_rejected(tmp_path)) == 1
    monkeypatch.undo()
    await purge(database, tmp_path, BEFORE)
    kept = await read_kept(database)
    assert kept.tables == kept.inferences == kept.ratings == kept.reviews == DAYS[2:]


async def test_one_process_purges_at_a_time(database: Database, tmp_path: Path) -> None:
    """Whoever comes second leaves it to the first, but for files that the first may never see."""
    await record_days(database, tmp_path, DAYS)
    damaged = tmp_path / f"w.000001{SUFFIX}{DAMAGED}"
    damaged.touch()
    os.utime(damaged, (0, 0))
    async with database.lock("purge"):
        assert (await look_ahead(database, tmp_path, BEFORE)).num_files == 1
        assert not (await purge(database, tmp_path, BEFORE)).has_run
    assert await read_kept(database) == all_of(DAYS)
    assert not damaged.exists()


async def test_rows_that_come_late_go_with_the_next_pass(
    database: Database, tmp_path: Path
) -> None:
    """Whether the day is gone already, or was detached by a pass that got no further."""
    await record_days(database, tmp_path, DAYS)
    async with database.session() as session:
        first, *_ = await list_days(session)
    await detach(database, first)
    await record_day(database, tmp_path, first.day, name="late")
    assert (await read_kept(database)).inferences == DAYS
    await purge(database, tmp_path, BEFORE)
    await record_day(database, tmp_path, first.day, name="later")
    assert (await read_kept(database)).ratings == [first.day, *DAYS[2:]]
    await purge(database, tmp_path, BEFORE)
    kept = await read_kept(database)
    assert kept.tables == kept.inferences == kept.ratings == DAYS[2:]


async def test_a_detach_of_somebody_else_is_ended_and_its_table_stays(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL detaches one partition at a time; what was detached is dropped only if it is due."""
    await record_days(database, tmp_path, DAYS)
    monkeypatch.setattr(partitions, "_PATIENCE_MS", 50)
    async with database.session() as reader:
        await reader.exec(select(Inference.id))
        *_, newest = await list_days(reader)
        with pytest.raises(UnavailableError):
            await detach(database, newest)
    monkeypatch.undo()
    await purge(database, tmp_path, BEFORE)
    kept = await read_kept(database)
    assert (kept.tables, kept.inferences) == (DAYS[2:], DAYS[2:3])


async def test_files_set_aside_go_when_they_are_as_old(database: Database, tmp_path: Path) -> None:
    """By when they were last written to; segments that wait for ingest stay however old they are."""
    rejected = tmp_path / REJECTED
    rejected.mkdir()
    names = [f"w.000001{SUFFIX}", f"w.000001{SUFFIX}{DAMAGED}", f"{REJECTED}/w.000002{SUFFIX}"]
    old = [tmp_path / name for name in names]
    new = [path.with_name(f"new-{path.name}") for path in old]
    midnight = midnight_of(BEFORE).timestamp()
    for paths, at in ((old, midnight - 1), (new, midnight)):
        for path in paths:
            path.touch()
            os.utime(path, (at, at))
    assert (await look_ahead(database, tmp_path, BEFORE)).num_files == 2
    assert (await purge(database, tmp_path, BEFORE)).num_files == 2
    assert {path for path in (*old, *new) if path.exists()} == {old[0], *new}


@pytest.mark.parametrize("retention_days", [None, 1])
async def test_the_job_keeps_what_is_to_be_kept(
    database: Database, tmp_path: Path, retention_days: int | None
) -> None:
    """Everything, unless `store.retention_days` says for how long."""
    await record_days(database, tmp_path, DAYS)
    settings = Settings(home=tmp_path, store=StoreSettings(retention_days=retention_days))
    await purge_expired(database, settings)
    left = DAYS if retention_days is None else []
    assert await read_kept(database) == all_of(left)


async def test_the_job_tells_of_a_day_that_is_still_read(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For whoever watches the worker; what hangs on the day has gone."""
    monkeypatch.setattr(partitions, "_PATIENCE_MS", 50)
    await record_days(database, tmp_path, DAYS)
    settings = Settings(home=tmp_path, store=StoreSettings(retention_days=1))
    async with database.session() as reader:
        await reader.exec(select(Inference.id))
        with pytest.raises(UnavailableError, match=str(DAYS[0])):
            await purge_expired(database, settings)
    kept = await read_kept(database)
    assert (kept.tables, kept.ratings) == (DAYS, [])


async def freeze_dataset(database: Database, alias_id: int) -> None:
    """Make a dataset of every inference."""
    inferences = await read_inferences(database)
    async with database.session() as session:
        dataset = Dataset(
            alias_id=alias_id, digest="d", num_train=len(inferences), num_valid=0, manifest={}
        )
        session.add(dataset)
        await session.flush()
        for position, id_ in enumerate(inferences):
            session.add(
                DatasetRow(
                    dataset_id=dataset.id,
                    position=position,
                    part=Part.TRAIN,
                    source=Source.REVIEWED,
                    source_id=id_,
                    content_hash="c",
                )
            )


async def read_usage(database: Database) -> list[int]:
    """Return the sums of tokens."""
    async with database.session() as session:
        return [row.tokens for row in (await session.exec(select(Usage))).all()]
