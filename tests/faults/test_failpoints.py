"""kill -9 at every named point of a request's way: nothing acknowledged is lost, nothing is twice."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from serving.journal.ingest import ingest
from serving.journal.segments import list_segments
from serving.journal.writer import JournalWriter
from serving.sections import JournalSettings
from serving.settings import Settings
from serving.store.database import Database
from serving.types import InferenceStatus
from tests.commands import FORKS
from tests.faults.apps import NUM_APPS, Told, asking
from tests.faults.failpoints import GATEWAY, INGEST, become_gateway, become_ingest
from tests.faults.test_journal_kill import spread
from tests.gateway import make_key, make_settings
from tests.journal import (
    let_a_minute_pass,
    make_begin,
    make_end,
    make_feedback,
    read_feedback,
    read_inferences,
)
from tests.ports import free_port
from tests.scale import Scale
from tests.upstream_server import Answer, FakeEngine, Received, answer_like_vllm, fake_engine

pytestmark = pytest.mark.timeout(600)

SECONDS = 200
"""What a process may take to start, or to die. It takes a second."""
SMALL = {"segment_bytes": 4096, "max_bytes": 2**24}
"""Segments for a few records, so that there is always another one."""


@dataclass
class Kills:
    """What the kills of this run came to."""

    points: set[str] = field(default_factory=set)
    num: int = 0
    num_acknowledged: int = 0


@pytest.fixture(scope="module")
def kills(scale: Scale) -> Iterator[Kills]:
    """Counts over all points; written down when every one had its turn."""
    found = Kills()
    yield found
    if found.points == {*GATEWAY, *INGEST}:
        scale.record(
            "killed_anywhere",
            points=len(found.points),
            kills=found.num,
            acknowledged=found.num_acknowledged,
            lost=0,
            duplicated=0,
        )


@pytest.mark.parametrize("point", GATEWAY)
async def test_a_gateway_killed_anywhere_loses_nothing(
    database: Database, tmp_path: Path, scale: Scale, kills: Kills, point: str
) -> None:
    """What a client saw whole is a row that says so; what an engine was asked is a row, too."""
    key = await make_key(database)
    for number in range(scale.count(1, full=20)):
        async with fake_engine() as engine:
            engine.script = one_connection_each
            settings = settings_to_die(tmp_path / str(number), engine, number)
            known = (await read_inferences(database)).keys()
            told = await ask_until_killed(settings, database.url, key, point, number)
            let_a_minute_pass(settings.journal_dir)
            report = await ingest(database, settings.journal_dir)
            assert report.num_damaged == report.num_rejected == 0
            assert list_segments(settings.journal_dir) == []
            await check(database, known, told, engine)
        kills.num += 1
        kills.num_acknowledged += told.num
    kills.points.add(point)


async def check(database: Database, known: Any, told: Told, engine: FakeEngine) -> None:
    """Compare the rows that a killed gateway left with what its apps and its engine saw."""
    rows = await read_inferences(database)
    begun = {id_: row.status for id_, row in rows.items() if id_ not in known}
    ok = {id_ for id_, status in begun.items() if status is InferenceStatus.OK}
    assert {call.headers["x-request-id"] for call in engine.calls} <= begun.keys()
    assert told.answered <= ok
    # What was answered at the last moment was still on its way.
    assert len(ok) <= len(told.answered) + NUM_APPS
    assert InferenceStatus.RUNNING not in begun.values()
    rated = [row.id for row in await read_feedback(database)]
    assert len(rated) == len(set(rated))
    assert told.rated <= set(rated)


async def ask_until_killed(settings: Settings, url: str, key: str, point: str, number: int) -> Told:
    """Run a gateway that dies at a point under load; return what it had told its apps by then."""
    log = settings.home / "gateway.log"
    arguments = (point, nth_of(number), settings.model_dump_json(), url, log)
    async with a_process(become_gateway, *arguments) as process:
        address = f"http://127.0.0.1:{settings.gateway.port}"
        await become_ready(address, process, log)
        async with asking(address, key, may_die=True) as told:
            await died(process, log)
    assert not told.refused
    return told


@pytest.mark.parametrize("point", INGEST)
async def test_an_ingest_killed_anywhere_repeats_nothing(
    database: Database, tmp_path: Path, scale: Scale, kills: Kills, point: str
) -> None:
    """The next one goes on where the rows end: each record is there, once."""
    folder, log = tmp_path / "journal", tmp_path / "ingest.log"
    for number in range(scale.count(1, full=20)):
        told, interrupted = write_journal(folder, number)
        known = (await read_inferences(database)).keys()
        arguments = (point, 1 + number % 3, str(folder), database.url, log)
        async with a_process(become_ingest, *arguments) as process:
            await died(process, log)
        let_a_minute_pass(folder)
        report = await ingest(database, folder)
        assert report.num_damaged == report.num_rejected == 0
        assert list_segments(folder) == []
        rows = await read_inferences(database)
        begun = {id_: row.status for id_, row in rows.items() if id_ not in known}
        assert begun == {
            **dict.fromkeys(told.answered, InferenceStatus.OK),
            **dict.fromkeys(interrupted, InferenceStatus.INTERRUPTED),
        }
        rated = [row.id for row in await read_feedback(database)]
        assert len(rated) == len(set(rated))
        assert told.rated <= set(rated)
        kills.num += 1
        kills.num_acknowledged += told.num + len(interrupted)
    kills.points.add(point)


def write_journal(folder: Path, run: int) -> tuple[Told, set[str]]:
    """Leave the journal of three workers that are gone; return what is in it, and what never ended."""
    told, interrupted = Told(), set()
    for worker in range(3):
        writer = JournalWriter(folder, JournalSettings(**SMALL), f"w-{run}-{worker}")
        for number in range(20):
            begin = make_begin("a" * 100 * number)
            writer.append(begin)
            if number % 5 == 0:
                interrupted.add(begin.id)
                continue
            writer.append(make_end(begin))
            rating = make_feedback(begin, id=begin.id[-32:])
            writer.append(rating)
            told.answered.add(begin.id)
            told.rated.add(rating.id)
        writer.close()
    return told, interrupted


def nth_of(number: int) -> int:
    """Return at which of the first hits to die: never so early that nothing was answered."""
    return NUM_APPS + 2 + round(16 * spread(number))


def settings_to_die(home: Path, engine: FakeEngine, number: int) -> Settings:
    """Return settings of a new home, with small segments; every other journal syncs, too."""
    settings = make_settings(home, engine, port=free_port())
    journal = JournalSettings(**SMALL, durability=("process", "power")[number % 2])
    return settings.model_copy(update={"journal": journal})


def one_connection_each(received: Received) -> Answer:
    """Answer as vLLM does, and end the connection, so that each request makes its own."""
    answer = answer_like_vllm(received)
    answer.headers["connection"] = "close"
    return answer


@asynccontextmanager
async def a_process(target: Callable[..., None], *arguments: Any) -> AsyncIterator[BaseProcess]:
    """Run a process, which is dead at the end of the block."""
    process = FORKS.Process(target=target, args=arguments)
    await asyncio.to_thread(process.start)
    try:
        yield process
    finally:
        process.kill()
        process.join()


async def become_ready(address: str, process: BaseProcess, log: Path) -> None:
    """Wait until the gateway is ready."""
    async with asyncio.timeout(SECONDS), aiohttp.ClientSession() as session:
        while process.exitcode is None:
            with suppress(aiohttp.ClientConnectionError):
                async with session.get(f"{address}/health/ready") as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.05)
    pytest.fail(f"it died too early, see {log}")


async def died(process: BaseProcess, log: Path) -> None:
    """Wait for its death, which has to be by its own hand."""
    async with asyncio.timeout(SECONDS):
        while process.exitcode is None:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)
    assert process.exitcode == -signal.SIGKILL, f"it died otherwise, see {log}"
