"""How a gateway's processes end and are replaced: signals, and what clients see of them."""

import asyncio
import os
import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path

import aiohttp
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.journal.records import Begin, End
from serving.journal.segments import list_segments
from serving.settings import Settings
from serving.store.database import Database
from serving.types import InferenceStatus
from tests.gateway import (
    make_key,
    make_settings,
    read_journal,
    records_of,
    until,
    who_answered,
)
from tests.ports import free_port
from tests.serving import Served, served
from tests.upstream_server import FakeEngine, Fault, answer_like_vllm, streamed

CHAT = {"model": "base", "messages": [{"role": "user", "content": "a"}], "stream": True}


def children_of(gateway: Served) -> set[int]:
    """Return the workers' process ids."""
    found = set()
    for child in psutil.Process(gateway.process.pid).children():
        with suppress(psutil.NoSuchProcess):  # a zombie counts as such
            if "resource_tracker" not in " ".join(child.cmdline()):
                found.add(child.pid)
    return found


def pid_of(worker_id: str) -> int:
    """Return a worker's process id."""
    return int(worker_id.split("-")[-2])


async def ask(session: aiohttp.ClientSession) -> str:
    """Make one streamed request; return how it ended."""
    async with session.post("/v1/chat/completions", json=CHAT) as response:
        body = await response.read()
        return f"{response.status} {'whole' if b'[DONE]' in body else 'cut'}"


def statuses(settings: Settings) -> Counter[InferenceStatus]:
    """Count how the recorded requests ended; each that was begun has ended."""
    records = read_journal(settings)
    ends = [record for record in records if isinstance(record, End)]
    begun = [record.id for record in records if isinstance(record, Begin)]
    assert sorted(begun) == sorted(end.id for end in ends)
    return Counter(end.status for end in ends)


async def end_of(gateway: Served) -> int:
    """Wait for the gateway's end; return its exit code."""
    await gateway.process.communicate()
    assert gateway.process.returncode is not None
    return gateway.process.returncode


async def test_workers_are_replaced_under_load_without_a_failed_request(
    tmp_path: Path, engine: FakeEngine, database: Database
) -> None:
    """SIGUSR1: every worker is another one afterwards, and no client noticed."""
    settings = make_settings(tmp_path, engine, port=free_port(), workers=2, drain_seconds=30)
    engine.script = lambda received: streamed(received, ["a", "b"], gap=0.02)
    async with served(settings, database.url, await make_key(database)) as gateway:
        await until(lambda: len(children_of(gateway)) == 2)
        before, outcomes = children_of(gateway), Counter[str]()
        is_over = asyncio.Event()

        async def call_on() -> None:
            while not is_over.is_set():
                outcomes[await ask(gateway.session)] += 1

        calling = [asyncio.create_task(call_on()) for _ in range(8)]
        gateway.process.send_signal(signal.SIGUSR1)
        await until(lambda: not children_of(gateway) & before, seconds=100)
        assert len(children_of(gateway)) == 2
        is_over.set()
        await asyncio.gather(*calling)
        assert set(outcomes) == {"200 whole"}
        gateway.process.send_signal(signal.SIGTERM)
        assert await end_of(gateway) == 0
    assert statuses(settings) == {InferenceStatus.OK: outcomes.total()}


@pytest.mark.prove
async def test_a_worker_that_dies_while_its_successor_starts_stops_no_restart(
    tmp_path: Path, engine: FakeEngine, database: Database
) -> None:
    """It gets another one, as any that dies; the others get theirs, and none is too many."""
    settings = make_settings(tmp_path, engine, port=free_port(), workers=2)
    async with served(settings, database.url, await make_key(database)) as gateway:
        while len(who_answered(settings)) < 2:
            await asyncio.gather(*(ask(gateway.session) for _ in range(20)))
        before = children_of(gateway)
        gateway.process.send_signal(signal.SIGUSR1)
        await until(lambda: len(children_of(gateway)) == 3)
        os.kill(min(before), signal.SIGKILL)  # started first, and so replaced first
        await until(lambda: not children_of(gateway) & before, seconds=100)
        await until(lambda: len(children_of(gateway)) == 2, seconds=100)
        assert await ask(gateway.session) == "200 whole"
        gateway.process.send_signal(signal.SIGTERM)
        assert await end_of(gateway) == 0


async def test_a_worker_that_dies_is_replaced_and_missed_in_no_sum(
    tmp_path: Path, engine: FakeEngine, database: Database
) -> None:
    """The other one answers meanwhile. What both have counted stays counted, by whichever worker is
    asked; what the dead one had under way is under way no more.
    """
    settings = make_settings(tmp_path, engine, port=free_port(), workers=2)
    async with served(settings, database.url, await make_key(database)) as gateway:
        await until(lambda: len(children_of(gateway)) == 2)
        for _ in range(4):
            assert await ask(gateway.session) == "200 whole"
        engine.script = lambda received: streamed(received, ["a", "b"], gap=Fault.STALL)
        asking = []
        while len(held := under_way(settings)) < 2:
            asking.append(asyncio.create_task(ask(gateway.session)))
            await until(lambda: under_way(settings).total() == len(asking))
        dying, living = sorted(held)
        await reads(gateway, in_flight=held.total(), ended=4, tokens=12, healthy=1)
        os.kill(dying, signal.SIGKILL)
        await reads(gateway, in_flight=held[living], ended=4, tokens=12, healthy=1)
        await until(lambda: len(children_of(gateway) - {dying, living}) == 1, seconds=100)
        engine.script = answer_like_vllm
        for _ in range(4):
            assert await ask(gateway.session) == "200 whole"
        await reads(gateway, in_flight=held[living], ended=8, tokens=24, healthy=1)
        engine.hang_up()
        await asyncio.gather(*asking, return_exceptions=True)
        gateway.process.send_signal(signal.SIGTERM)
        assert await end_of(gateway) == 0


def under_way(settings: Settings) -> Counter[int]:
    """Count the requests that have begun and not ended, by their worker's process id."""
    ids: dict[int, set[str]] = {}
    for segment in list_segments(settings.journal_dir):
        running = ids.setdefault(pid_of(segment.worker_id), set())
        for record in records_of(segment):
            running ^= {record.id}
    return Counter({pid: len(running) for pid, running in ids.items() if running})


async def reads(gateway: Served, **wanted: float) -> None:
    """Wait until /metrics of whichever workers answer reads so, six times in a row."""
    num_right = 0
    async with asyncio.timeout(60):
        while num_right < 6:
            async with gateway.session.get("/metrics") as response:
                found = await response.text()
            read = {
                "in_flight": total(found, "strop_in_flight"),
                "ended": total(found, "strop_requests_total", status="ok"),
                "tokens": total(found, "strop_tokens_total", direction="completion"),
                "healthy": total(found, "strop_replica_healthy", replica="0"),
            }
            num_right = num_right + 1 if read == wanted else 0


def total(text: str, name: str, **labels: str) -> float:
    """Add up a metric's samples that carry these labels."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_second_sigterm_hurries(
    tmp_path: Path, engine: FakeEngine, database: Database, workers: int
) -> None:
    """One is heard, and waits for what is under way; the second ends that, told and recorded."""
    settings = make_settings(tmp_path, engine, port=free_port(), workers=workers, drain_seconds=100)
    engine.script = lambda received: streamed(received, ["a", "b"], gap=Fault.STALL)
    async with served(settings, database.url, await make_key(database)) as gateway:
        asking = asyncio.create_task(ask(gateway.session))
        await until(lambda: len(engine.calls) == 1)
        gateway.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(2)
        assert not asking.done()
        gateway.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            assert await asking == "200 cut"
            assert await end_of(gateway) == 0
    assert statuses(settings) == {InferenceStatus.INTERRUPTED: 1}


async def test_notice_is_given_before_the_door_is_shut(
    tmp_path: Path, engine: FakeEngine, database: Database
) -> None:
    """With `gateway.notice_seconds`: not ready, and still answering whoever was sent here."""
    settings = make_settings(tmp_path, engine, port=free_port(), notice_seconds=3)
    async with served(settings, database.url, await make_key(database)) as gateway:
        gateway.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            while True:
                async with gateway.session.get("/health/ready") as response:
                    if response.status == 503:
                        assert "shutting down" in await response.text()
                        break
        assert await ask(gateway.session) == "200 whole"
        assert await end_of(gateway) == 0


async def test_a_request_on_its_way_to_a_closing_connection_is_answered(
    tmp_path: Path, engine: FakeEngine, database: Database
) -> None:
    """A kept-alive connection gets one more answer, which says that it closes."""
    settings = make_settings(tmp_path, engine, port=free_port(), drain_seconds=10)
    key = await make_key(database)
    async with served(settings, database.url, key) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", settings.gateway.port)
        request = b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n"
        writer.write(request)
        assert (await reader.readuntil(b'"live"}')).startswith(b"HTTP/1.1 200")
        gateway.process.send_signal(signal.SIGTERM)
        answer = b""
        async with asyncio.timeout(60):
            while b"connection: close" not in answer.lower():  # until the signal is heard
                await asyncio.sleep(0.05)
                writer.write(request)
                answer = await reader.readuntil(b'"live"}')
                assert answer.startswith(b"HTTP/1.1 200")
            assert await reader.read() == b""
        writer.close()
        assert await end_of(gateway) == 0
