"""The journal's disk is full under load: 503 until there is room, and what was promised is kept."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from serving.sections import JournalSettings
from serving.store.database import Database
from tests.disks import mounted_disk, pretended_disk
from tests.faults.apps import NUM_APPS, Told, all_stored, asking, ingesting
from tests.gateway import Gateway, is_well, make_key, make_settings, running_gateway, until
from tests.scale import Scale
from tests.upstream_server import (
    Answer,
    Received,
    answer_like_vllm,
    fake_engine,
    streamed,
)

DISK_BYTES = 2**20
JOURNAL = JournalSettings(segment_bytes=2**16, max_bytes=2**20, reserve_bytes=2**17)
WIDE = JOURNAL.model_copy(update={"max_bytes": 2**30})
"""Does not know how small its disk is."""


def no_disk(folder: Path, num_bytes: int) -> AbstractContextManager[None]:
    """Leave the disk as it is."""
    return nullcontext()


@pytest.fixture(scope="module")
def told_in_all(scale: Scale) -> Iterator[list[Told]]:
    """What apps were told while each of the disks was full and empty again."""
    found: list[Told] = []
    yield found
    scale.record(
        "disk_full",
        disks=len(found),
        acknowledged=sum(told.num for told in found),
        refused=sum(told.refused.total() for told in found),
        lost=0,
    )


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("disk", "journal"),
    [(no_disk, JOURNAL), (pretended_disk, WIDE), (mounted_disk, WIDE)],
    ids=["watermark", "pretended", "mounted"],
)
async def test_a_full_disk_refuses_and_forgets_nothing(
    tmp_path: Path,
    database: Database,
    scale: Scale,
    told_in_all: list[Told],
    disk: Callable[[Path, int], AbstractContextManager[None]],
    journal: JournalSettings,
) -> None:
    """Nobody reads the journal, until it is full; then a worker comes, and service with it.

    What was under way when the disk was full is answered, and stored like all else.
    """
    async with fake_engine() as engine:
        engine.script = answer_at_length
        settings = make_settings(tmp_path, engine).model_copy(update={"journal": journal})
        key = await make_key(database)
        with disk(settings.journal_dir, DISK_BYTES):
            async with running_gateway(settings, database) as gateway:
                await is_well(gateway)
                await until(lambda: gateway.runtime.catalog.principal_of(key) is not None)
                told = Told()
                for _ in range(scale.count(1, full=10)):
                    told += await fill_and_empty(gateway, database, key)
                async with ingesting(settings, database.url):
                    await all_stored(database, told)
    assert set(told.refused) == {(503, True)}
    told_in_all.append(told)


async def fill_and_empty(gateway: Gateway, database: Database, key: str) -> Told:
    """Have apps ask until they are refused, and on until they are answered; return what they heard."""
    async with asking(gateway.url, key) as told:
        await until(lambda: told.refused.total() >= 10 * NUM_APPS, seconds=100)
        for path in ("/health/live", "/health/ready", "/metrics"):
            async with gateway.session.get(gateway.url + path) as response:
                assert response.status == 200
        async with ingesting(gateway.settings, database.url):
            num_before = len(told.answered)
            await until(lambda: len(told.answered) >= num_before + 10 * NUM_APPS, seconds=100)
    return told


def answer_at_length(received: Received) -> Answer:
    """Answer with much text; streams take their time, so that some are always under way."""
    if received.json.get("stream"):
        return streamed(received, ["Hello" * 500] * 3, gap=0.02)
    answer = answer_like_vllm(received)
    answer.pieces = [b" " * 8000, *answer.pieces]
    answer.is_chunked = True
    return answer
