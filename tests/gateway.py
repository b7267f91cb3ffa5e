"""A gateway on a real socket, in the test's own event loop, in front of scriptable engines."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import uvicorn
from litestar import Litestar

from gateway.app import create_app
from gateway.http.routes import Routes
from gateway.runtime import Runtime
from gateway.serve import http_protocol
from serving.fleet.adapters import adapter_path
from serving.ids import make_sign_key
from serving.journal.frames import read_batch
from serving.journal.reader import decode
from serving.journal.records import Begin, End, Record
from serving.journal.segments import Segment, list_segments
from serving.routing.catalog import Quota
from serving.settings import Settings
from serving.store.aliases import create_alias, id_of
from serving.store.database import Database, raise_revision
from serving.store.keys import create_key
from serving.store.tables import Adapter, Alias, Release
from serving.types import ReleaseState, Role, Task
from tests.upstream_server import FakeEngine

MESSAGES = [{"role": "user", "content": "Where is my parcel?"}]


@dataclass(frozen=True)
class Answered:
    """What a client got."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error in OpenAI's shape."""
        error: dict[str, Any] = self.json["error"]
        return error


@dataclass
class Gateway:
    """A running gateway, a client of it, and what stands around."""

    url: str
    app: Litestar
    settings: Settings
    server: uvicorn.Server
    session: aiohttp.ClientSession
    key: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def runtime(self) -> Runtime:
        """The worker's parts."""
        runtime: Runtime = self.app.state.runtime
        return runtime

    async def chat(self, **fields: Any) -> Answered:
        """Ask for a chat."""
        body = {"model": "base", "messages": MESSAGES, **fields}
        return await self.post("/v1/chat/completions", json.dumps(body).encode())

    async def post(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> Answered:
        """Send a body as it is."""
        given = {
            "Authorization": f"Bearer {self.key}",
            "Content-Type": "application/json",
        } | (headers or {})
        async with self.session.post(self.url + path, data=body, headers=given) as response:
            return Answered(response.status, response.headers, await response.read())

    def records(self) -> list[Record]:
        """Read the whole journal."""
        return read_journal(self.settings)

    def begins(self) -> list[Begin]:
        """Return what was begun."""
        return [record for record in self.records() if isinstance(record, Begin)]

    def ends(self) -> list[End]:
        """Return what has ended."""
        return [record for record in self.records() if isinstance(record, End)]

    async def ended(self, count: int) -> list[End]:
        """Wait until `count` requests have ended; nothing may be at an engine then."""
        await until(lambda: len(self.ends()) >= count)
        await until(lambda: self.runtime.traffic.num_running == 0)
        assert len(self.ends()) == count
        return self.ends()


def chat_bytes(key: str, **fields: object) -> bytes:
    """Return a chat as it goes over the wire."""
    body = json.dumps({"model": "base", "messages": MESSAGES, **fields}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def read_journal(settings: Settings) -> list[Record]:
    """Return every record of a home's journal."""
    segments = list_segments(settings.journal_dir)
    return [record for segment in segments for record in records_of(segment)]


def records_of(segment: Segment) -> list[Record]:
    """Return every record of a segment."""
    found = [decode(frame.payload) for frame in read_batch(segment.path, 0, 2**30).frames]
    return [record for record in found if record is not None]


def who_answered(settings: Settings) -> set[str]:
    """Return the ids of workers that have recorded something: a segment is there before that."""
    segments = list_segments(settings.journal_dir)
    return {segment.worker_id for segment in segments if records_of(segment)}


def make_settings(home: Path, *engines: FakeEngine, **gateway: Any) -> Settings:
    """Return settings of a new home whose one pool these engines are."""
    (home / "adapters").mkdir(parents=True, exist_ok=True)
    settings = Settings.model_validate(
        {
            "home": home,
            "engine": {"urls": tuple(engine.url for engine in engines), "base_model": "any"},
            "gateway": {"drain_seconds": 1, **gateway},
        }
    )
    make_sign_key(settings.sign_key)
    return settings


async def make_key(database: Database, tenant: str = "default", **fields: Any) -> str:
    """Make a key; return its text."""
    fields = {"role": Role.APP, "name": "test"} | fields
    async with database.session() as session:
        _, text = await create_key(session, tenant=tenant, **fields)
    return text


async def make_limited(gateway: Gateway, database: Database, **limits: int) -> None:
    """Have the gateway's client use a new key with these limits."""
    gateway.key = await make_key(database, quota=Quota(**limits))
    await until(lambda: gateway.runtime.catalog.principal_of(gateway.key) is not None)


@asynccontextmanager
async def running_gateway(settings: Settings, database: Database) -> AsyncIterator[Gateway]:
    """Run a gateway until the block ends, then stop it as SIGTERM would."""
    key = await make_key(database)
    routes = Routes()
    app = create_app(settings, database.url, routes)
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        http=http_protocol(settings, routes),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=round(settings.gateway.drain_seconds),
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    async with aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        gateway = Gateway(url, app, settings, server, session, key)
        await until(lambda: server.started or serving.done())
        try:
            yield gateway
        finally:
            await session.close()  # or its idle connections would be waited for, a second
            server.should_exit = True
            await serving


async def is_well(gateway: Gateway) -> None:
    """Wait until the base is proved on every replica."""
    urls = gateway.settings.engine.urls
    await until(lambda: len(gateway.runtime.prover.replicas_for("default", None)) == len(urls))


async def promote_adapter(
    database: Database, settings: Settings, alias_id: int, name: str, *engines: FakeEngine
) -> None:
    """Make an adapter the champion of an alias, as a swap would, and load it where it says."""
    path = adapter_path(settings, settings.pool("default"), name)
    for engine in engines:
        engine.adapters[name] = path
    async with database.session() as session:
        alias = await session.get_one(Alias, alias_id)
        number = int(name.split("-v")[1].split("-")[0]) + 1
        adapter = Adapter(
            alias_id=alias_id,
            version=number - 1,
            name=name,
            digest="d" * 64,
            pool="default",
            rank=8,
            num_bytes=1,
            source="test",
        )
        session.add(adapter)
        await session.flush()
        release = Release(
            alias_id=alias_id,
            number=number,
            pool="default",
            adapter_id=adapter.id,
            state=ReleaseState.CHAMPION,
        )
        session.add(release)
        await session.flush()
        alias.previous_id, alias.champion_id = alias.champion_id, release.id
        await raise_revision(session)


async def make_alias(database: Database, settings: Settings, name: str, **fields: Any) -> int:
    """Make an alias; return its id."""
    fields = {"tenant": "default", "task": Task.CHAT} | fields
    async with database.session() as session:
        return id_of(await create_alias(session, settings, name=name, **fields))


async def until(is_so: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for it, with wide slack."""
    async with asyncio.timeout(seconds):
        while not is_so():  # noqa: ASYNC110 - asks others, who know nothing of events
            await asyncio.sleep(0.01)
