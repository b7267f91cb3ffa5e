"""A second start: `strop up` greets only when the alias that it serves can be asked."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from serving.settings import Settings
from serving.store.database import Database
from tests.gateway import MESSAGES, make_alias, make_settings, promote_adapter
from tests.ports import free_port
from tests.upstream_server import Answer, FakeEngine, Received

ADAPTER = "support-v1-aaaaaaaa"


class SlowEngine(FakeEngine):
    """An engine that needs its time for an adapter's first answer, as one on a slow disk does."""

    seconds = 0.0

    def _answer(self, received: Received) -> Answer:
        answer = super()._answer(received)
        is_probe = received.path == "/v1/completions" and "x-request-id" not in received.headers
        if is_probe and received.json["model"] == ADAPTER:
            answer.before_head = self.seconds
        return answer


@pytest.mark.timeout(300)
async def test_nobody_is_greeted_before_the_champion_is_proved(
    tmp_path: Path, database: Database
) -> None:
    """The first request after the greeting is answered, by the champion."""
    async with slow_engine() as engine:
        settings = make_settings(tmp_path, engine)
        await promote_adapter(
            database, settings, await make_alias(database, settings, "support"), ADAPTER, engine
        )
        engine.seconds = 4.0
        async with strop_up(settings, database) as (process, url):
            assert process.stdout is not None
            greeting = json.loads(await asyncio.wait_for(process.stdout.readline(), 200))
            async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:
                key = (tmp_path / "admin.key").read_text().strip()
                answer = await client.post(
                    "/v1/chat/completions",
                    headers={"Authorization": f"Bearer {key}"},
                    json={"model": "support", "messages": MESSAGES},
                )
            assert greeting["address"] == f"{url}/v1"
            assert (answer.status_code, answer.headers["x-strop-adapter"]) == (200, ADAPTER)


@pytest.mark.timeout(300)
async def test_an_engine_that_is_away_is_named_beside_the_greeting(
    tmp_path: Path, database: Database
) -> None:
    """It is somebody else's: nothing here will bring it, and the rest is up."""
    gone = FakeEngine()
    gone.port = free_port()
    async with strop_up(make_settings(tmp_path, gone), database) as (process, _):
        assert process.stdout is not None
        assert process.stderr is not None
        assert await asyncio.wait_for(process.stdout.readline(), 200)
        process.terminate()
        told = (await process.stderr.read()).decode()
    assert f"Not served: base model base: {gone.url} does not answer" in told


@asynccontextmanager
async def slow_engine() -> AsyncIterator[SlowEngine]:
    """Run an engine on a free port."""
    engine = SlowEngine()
    server = await asyncio.start_server(engine.serve, "127.0.0.1", 0)
    engine.port = server.sockets[0].getsockname()[1]
    yield engine
    server.close()
    engine.hang_up()
    await server.wait_closed()


@asynccontextmanager
async def strop_up(
    settings: Settings, database: Database
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Run `strop up --json` on a database that is there; yield it and the gateway's address."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.command.main", "up", "--json"),
        env={
            **os.environ,
            "STROP_HOME": str(settings.home),
            "STROP_STORE__URL": database.url,
            "STROP_ENGINE__URLS": json.dumps(settings.engine.urls),
            "STROP_ENGINE__BASE_MODEL": "any",
            "STROP_GATEWAY__PORT": str(port),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await asyncio.wait_for(process.communicate(), 60)
