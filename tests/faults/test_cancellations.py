"""Clients that leave at any moment, thousands of them: afterwards nothing of them is left."""

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import aiohttp
import psutil
import pytest
import uvloop

from gateway.upstream.client import SocketUpstream
from serving.routing.catalog import Quota
from serving.store.database import Database
from serving.store.embedded import PostgresServer, database_url
from serving.types import InferenceStatus
from tests.gateway import (
    Gateway,
    chat_bytes,
    is_well,
    make_key,
    make_settings,
    running_gateway,
    until,
)
from tests.scale import Scale
from tests.upstream_server import (
    Answer,
    FakeEngine,
    Received,
    answer_like_vllm,
    fake_engine,
    streamed,
)

AT_ONCE = 64
NUM_FRESH = 100
LONGEST_SECONDS = 0.05
"""After this an answer would have been there, if its engine had not been busy."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a gateway and the engine before it hold of this process, its own parts included."""

    sockets: int
    files: int
    tasks: int
    upstream: int

    @classmethod
    def now(cls, gateway: Gateway) -> "Held":
        """Count. PostgreSQL's sockets are a pool's, and none of them is a request's."""
        process, upstream = psutil.Process(), gateway.runtime.upstream
        assert isinstance(upstream, SocketUpstream)
        return cls(
            sockets=len(process.net_connections("inet")),
            files=len(process.open_files()),
            tasks=len(asyncio.all_tasks()),
            upstream=upstream.pool.num_living,
        )

    def is_within(self, other: "Held") -> bool:
        """Whether there is no more of anything than there was."""
        return (
            self.sockets <= other.sockets
            and self.files <= other.files
            and self.tasks <= other.tasks
            and self.upstream <= other.upstream
        )


@pytest.mark.timeout(3600)
def test_clients_that_leave_at_any_moment_leave_nothing(
    postgres: PostgresServer, database_name: str, tmp_path: Path, scale: Scale
) -> None:
    """Sockets, tasks, upstream calls and places are as before, and everybody else is answered.

    On uvloop, as in production: it tells of lost connections otherwise than asyncio does.
    """
    url, count = database_url(postgres, database_name), scale.count(200, full=10_000)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        statuses = runner.run(cancel_many(url, tmp_path, count))
    assert statuses[InferenceStatus.CLIENT_ABORTED] > 0
    scale.record(
        "cancelled",
        cancellations=count,
        aborted=statuses[InferenceStatus.CLIENT_ABORTED],
        fresh=NUM_FRESH,
        left=0,
    )


async def cancel_many(url: str, home: Path, count: int) -> Counter[InferenceStatus]:
    """Have so many clients leave, look what is left, and ask anew; return how all requests ended."""
    async with fake_engine() as engine:
        engine.script = answer_slowly
        settings = make_settings(home, engine)
        # Fewer places than clients, so that many leave the queue.
        narrow = settings.engine.model_copy(update={"max_in_flight": AT_ONCE // 3})
        settings = settings.model_copy(update={"engine": narrow})
        database = Database.connect(url)
        key = await make_key(database, quota=Quota(concurrency=NUM_FRESH))
        async with running_gateway(settings, database) as gateway:
            await is_well(gateway)
            gateway.key = key
            await ask_afresh(gateway, 2)
            await leaves_nothing(gateway, engine)
            before = Held.now(gateway)
            await leave_many(gateway, count)
            await until(lambda: Held.now(gateway).is_within(before), seconds=100)
            await leaves_nothing(gateway, engine)
            await ask_afresh(gateway, NUM_FRESH)
        begun, ended = gateway.begins(), gateway.ends()
        await database.close()
    assert sorted(begin.id for begin in begun) == sorted(end.id for end in ended)
    statuses = Counter(end.status for end in ended)
    assert set(statuses) == {InferenceStatus.OK, InferenceStatus.CLIENT_ABORTED}
    return statuses


async def leave_many(gateway: Gateway, count: int) -> None:
    """Send requests and leave them, some before they are sent whole, some after their answer."""
    random, slots = Random(5), asyncio.Semaphore(AT_ONCE)  # noqa: S311 - a test, no secret

    async def leave() -> None:
        async with slots:
            request = chat_bytes(gateway.key, stream=random.random() < 0.5)
            num_sent = len(request) if random.random() < 0.9 else random.randrange(len(request))
            reader, writer = await asyncio.open_connection(*address_of(gateway))
            writer.write(request[:num_sent])
            with suppress(TimeoutError):
                async with asyncio.timeout(random.random() * LONGEST_SECONDS):
                    while await reader.read(2**16):
                        pass
            if random.random() < 0.5:
                writer.transport.abort()
            else:
                writer.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(leave())


async def ask_afresh(gateway: Gateway, count: int) -> None:
    """Ask as often as the key may at once, half of it streamed: everybody is answered."""
    async with aiohttp.ClientSession() as session:  # closed, for what it keeps alive is counted
        asker = replace(gateway, session=session)
        asking = [asker.chat(stream=bool(number % 2)) for number in range(count)]
        answers = await asyncio.gather(*asking)
    assert Counter(answer.status for answer in answers) == {200: count}
    assert all(b"Hello" in answer.body for answer in answers)


async def leaves_nothing(gateway: Gateway, engine: FakeEngine) -> None:
    """Wait until nobody has a place any more, and no connection is kept for the next call."""
    runtime = gateway.runtime
    await until(lambda: runtime.traffic.num_running == 0)
    await until(lambda: runtime.dispatcher.load_of(engine.url) == 0)
    await until(lambda: Held.now(gateway).upstream == 0)
    await until(lambda: not gateway.server.server_state.connections)


def answer_slowly(received: Received) -> Answer:
    """Answer as vLLM does, in about as long as its clients have patience."""
    if received.json["stream"]:
        return streamed(received, ["Hello", " there", "!"], gap=LONGEST_SECONDS / 6)
    answer = answer_like_vllm(received)
    answer.before_head = LONGEST_SECONDS / 2
    return answer


def address_of(gateway: Gateway) -> tuple[str, int]:
    """Return host and port."""
    host, _, port = gateway.url.removeprefix("http://").rpartition(":")
    return host, int(port)
