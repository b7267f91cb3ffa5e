"""Apps that ask and rate without pause, and remember what they were told; a worker that ingests."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field

import aiohttp

from retrain.worker import work
from serving.settings import Settings
from serving.store.database import Database
from serving.types import InferenceStatus
from tests.gateway import MESSAGES
from tests.journal import read_feedback, read_inferences
from tests.load import stream_once

NUM_APPS = 6
_ANOTHER_TRY_SECONDS = 0.02
_STORED_SECONDS = 100


@dataclass
class Told:
    """What apps were told."""

    answered: set[str] = field(default_factory=set)
    """Inferences whose whole answer was seen."""
    rated: set[str] = field(default_factory=set)
    """Feedback that was accepted."""
    refused: Counter[tuple[int, bool]] = field(default_factory=Counter)
    """Refusals, by status and whether `Retry-After` came along."""

    def __iadd__(self, other: "Told") -> "Told":
        """Add what others were told."""
        self.answered |= other.answered
        self.rated |= other.rated
        self.refused += other.refused
        return self

    @property
    def num(self) -> int:
        """What was acknowledged."""
        return len(self.answered) + len(self.rated)


@asynccontextmanager
async def asking(url: str, key: str, *, may_die: bool = False) -> AsyncIterator[Told]:
    """Have apps ask until the block ends, or the gateway does; wait for their last answers then."""
    told, is_over = Told(), asyncio.Event()

    async def ask_till_the_end(session: aiohttp.ClientSession, *, is_streamed: bool) -> None:
        with suppress(aiohttp.ClientError) if may_die else nullcontext():
            await ask_on(session, url, told, is_over, is_streamed=is_streamed)

    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(headers=headers) as session, asyncio.TaskGroup() as group:
        for number in range(NUM_APPS):
            group.create_task(ask_till_the_end(session, is_streamed=bool(number % 2)))
        try:
            yield told
        finally:
            is_over.set()


async def ask_on(
    session: aiohttp.ClientSession,
    url: str,
    told: Told,
    is_over: asyncio.Event,
    *,
    is_streamed: bool,
) -> None:
    """Ask, streamed or not, and rate what is answered.

    Raises:
        aiohttp.ClientError: the gateway died.
    """
    while not is_over.is_set():
        asking = _stream(session, url, told) if is_streamed else _ask(session, url, told)
        inference_id = await asking
        if inference_id is None:
            await asyncio.sleep(_ANOTHER_TRY_SECONDS)
            continue
        told.answered.add(inference_id)
        rating = {"inference_id": inference_id, "rating": "up"}
        async with session.post(f"{url}/v1/feedback", json=rating) as response:
            if response.status == 200:
                told.rated.add((await response.json())["feedback_id"])
            else:
                told.refused[response.status, "retry-after" in response.headers] += 1


async def _ask(session: aiohttp.ClientSession, url: str, told: Told) -> str | None:
    body = {"model": "base", "messages": MESSAGES}
    async with session.post(f"{url}/v1/chat/completions", json=body) as response:
        await response.read()
        if response.status == 200:
            return response.headers["x-strop-inference-id"]
        told.refused[response.status, "retry-after" in response.headers] += 1
        return None


async def _stream(session: aiohttp.ClientSession, url: str, told: Told) -> str | None:
    outcome = await stream_once(session, url, "base", "Where is my parcel?")
    if outcome.is_ok:
        return outcome.inference_id
    if outcome.status in (0, 200):
        raise aiohttp.ClientError(outcome.error)
    told.refused[outcome.status, outcome.retry_after is not None] += 1
    return None


@asynccontextmanager
async def ingesting(settings: Settings, url: str) -> AsyncIterator[None]:
    """Run the worker's ingest until the block ends."""
    stopping = asyncio.Event()
    working = asyncio.create_task(work(settings, url, stopping, "ingest"))
    try:
        yield
    finally:
        stopping.set()
        await working


async def all_stored(database: Database, told: Told) -> None:
    """Wait until every answer and rating is a row, and nothing counts as running; none is twice."""
    async with asyncio.timeout(_STORED_SECONDS):
        while True:
            rows = await read_inferences(database)
            statuses = {row.status for row in rows.values()}
            ok = {id_ for id_, row in rows.items() if row.status is InferenceStatus.OK}
            rated = [row.id for row in await read_feedback(database)]
            is_all_there = told.answered <= ok and told.rated <= set(rated)
            if is_all_there and InferenceStatus.RUNNING not in statuses:
                break
            await asyncio.sleep(0.1)
    assert ok == told.answered
    assert sorted(rated) == sorted(told.rated)
