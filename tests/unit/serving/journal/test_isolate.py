"""What no row can be made of is told from all else, and kept."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from serving.journal.frames import pack
from serving.journal.ingest import ingest
from serving.journal.records import MAGIC, Record
from serving.journal.writer import JournalWriter
from serving.sections import JournalSettings
from serving.store.database import Database
from serving.types import InferenceStatus
from tests.journal import make_begin, make_end, read_inferences, write_segment


def as_dict(record: Record) -> dict[str, Any]:
    """Return what a record looks like in the file."""
    found: dict[str, Any] = msgspec.to_builtins(record, builtin_types=(bytes,))
    return found


def rejects_of(folder: Path) -> list[Path]:
    """Return the segments that were made of rejected records."""
    return sorted((folder / "rejected").iterdir())


async def test_poison_is_isolated(database: Database, folder: Path) -> None:
    """Neither an unreadable record nor a row that PostgreSQL refuses holds up the others."""
    good = [make_begin() for _ in range(5)]
    payloads = [msgspec.msgpack.encode(begin) for begin in good]
    too_long = make_begin(model="m" * 300)
    too_large = make_begin(alias_id=2**63)
    payloads[2:2] = [b"\xc1", msgspec.msgpack.encode(too_long), msgspec.msgpack.encode(too_large)]
    write_segment(folder, "w-1.000001.journal", *payloads)
    report = await ingest(database, folder)
    assert (report.num_records, report.num_rejected, report.num_inferences) == (8, 3, 5)
    assert set(await read_inferences(database)) == {begin.id for begin in good}
    kept = [path.read_bytes() for path in rejects_of(folder)]
    assert kept == [MAGIC + b"".join(map(pack, payloads[2:5]))]


async def test_a_reject_can_be_tried_again(database: Database, folder: Path) -> None:
    """A kept reject is a segment: moved back into the folder, it is ingested."""
    begin = make_begin(alias_id=2**40)
    write_segment(folder, "w-1.000001.journal", msgspec.msgpack.encode(begin))
    await ingest(database, folder)
    for _ in range(3):
        (kept,) = rejects_of(folder)
        kept.rename(folder / kept.name)
        report = await ingest(database, folder)
        assert (report.num_records, report.num_rejected) == (1, 1)


@pytest.mark.parametrize("batch_bytes", [1, 2**20])
async def test_an_answer_is_kept_with_its_request(
    database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch, batch_bytes: int
) -> None:
    """An end alone would be of nothing, and gone. A refused end leaves its begin alone."""
    monkeypatch.setattr("serving.journal.ingest._BATCH_BYTES", batch_bytes)
    refused, good, cut = make_begin(alias_id=2**63), make_begin(), make_begin()
    later = make_begin()
    unknown = as_dict(later) | {"type": "begin-2"}
    odd = as_dict(make_end(cut)) | {"status": "odd"}
    kept = (refused, make_end(refused), unknown, make_end(later), odd)
    payloads = [msgspec.msgpack.encode(record) for record in (good, cut, *kept, make_end(good))]
    write_segment(folder, "w-1.000001.journal", *payloads)
    report = await ingest(database, folder)
    assert (report.num_rejected, report.num_unmatched) == (5, 0)
    rows = await read_inferences(database)
    assert {row.id: row.status for row in rows.values()} == {
        good.id: InferenceStatus.OK,
        cut.id: InferenceStatus.INTERRUPTED,
    }
    frames = b"".join(path.read_bytes().removeprefix(MAGIC) for path in rejects_of(folder))
    assert frames == b"".join(map(pack, payloads[2:-1]))


async def test_an_answer_that_comes_passes_later_is_kept_likewise(
    database: Database, folder: Path
) -> None:
    """As most do: ingest looks twice a second. Moved back together, they are tried together."""
    writer = JournalWriter(folder, JournalSettings(), "w-1")
    refused = make_begin(alias_id=2**63)
    writer.append(refused)
    assert (await ingest(database, folder)).num_rejected == 1
    end = make_end(refused)
    writer.append(end)
    writer.close()
    num_new = 1
    for _ in range(3):
        report = await ingest(database, folder)
        assert (report.num_rejected, report.num_unmatched) == (num_new, 0)
        kept = [path.read_bytes().removeprefix(MAGIC) for path in rejects_of(folder)]
        assert kept == [pack(msgspec.msgpack.encode(record)) for record in (refused, end)]
        for path in rejects_of(folder):
            path.rename(folder / path.name)
        num_new = 2


async def test_a_request_is_stored_though_its_end_was_put_aside(
    database: Database, folder: Path
) -> None:
    """As where a pass was cut off after it had put that aside: the next one begins anew."""
    begin = make_begin()
    odd = as_dict(make_end(begin)) | {"status": "odd"}
    payloads = [msgspec.msgpack.encode(record) for record in (begin, odd)]
    write_segment(folder / "rejected", "w-1.1700000000000000.journal", payloads[1])
    write_segment(folder, "w-1.000001.journal", *payloads)
    assert (await ingest(database, folder)).num_inferences == 1
    assert set(await read_inferences(database)) == {begin.id}


async def test_a_later_versions_records_are_kept_for_it(database: Database, folder: Path) -> None:
    """A type that we do not know is put aside; a key that we do not know is ignored."""
    begin = make_begin()
    known = as_dict(begin) | {"new_key": 1}
    unknown = {"type": "review", "id": "x"}
    payloads = [msgspec.msgpack.encode(value) for value in (unknown, known)]
    write_segment(folder, "w-1.000001.journal", *payloads)
    assert (await ingest(database, folder)).num_rejected == 1
    assert [path.read_bytes() for path in rejects_of(folder)] == [MAGIC + pack(payloads[0])]
    assert begin.id in await read_inferences(database)
