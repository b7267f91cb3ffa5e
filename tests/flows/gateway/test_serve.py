"""`serve`: what runs in production, as a process of its own."""

import asyncio
import json
import signal
from pathlib import Path

import aiohttp
import pytest

from gateway.serve import uvicorn_config
from gateway.server import Fitness
from serving.settings import Settings
from serving.store.database import Database
from tests.canary import CANARY
from tests.gateway import make_key, make_settings
from tests.ports import free_port
from tests.serving import served
from tests.upstream_server import FakeEngine


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_gateway_serves_and_stops_on_sigterm(
    tmp_path: Path, engine: FakeEngine, database: Database, workers: int
) -> None:
    """One worker or several: ready, metrics of all, and a clean end that unwinds its caller.

    The one worker is the process that we started: after all that, it holds nothing of the trainer,
    and, as no collector was named, nothing that traces (Litestar loads OpenTelemetry's interface
    whenever it is there). Its log has said nothing of what was said.
    """
    port = free_port()
    settings = make_settings(tmp_path, engine, port=port, workers=workers)
    key = await make_key(database)
    async with served(settings, database.url, key) as gateway:
        session, process = gateway.session, gateway.process
        body = {"model": "base", "messages": [{"role": "user", "content": CANARY}]}
        for is_streamed in (False, True, False, True):
            asked = {**body, "stream": is_streamed}
            async with session.post("/v1/chat/completions", json=asked) as response:
                assert response.status == 200
        async with asyncio.timeout(60):
            # The other worker hands its part on once a second.
            while 'tenant="-"} 4.0' not in await metrics_of(session):  # noqa: ASYNC110 - others know
                await asyncio.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        output, log = await process.communicate()
    assert b"store closed" in output
    assert b"loaded: []" in output, output
    assert process.returncode == 0
    lines = [json.loads(line) for line in log.decode().splitlines()]
    assert all(line["level"] in ("info", "warning") for line in lines), lines
    assert CANARY not in log.decode()
    assert key not in log.decode()


async def metrics_of(session: aiohttp.ClientSession) -> str:
    """Return what Prometheus would read."""
    async with session.get("/metrics") as response:
        return await response.text()


def test_uvicorn_runs_its_safe_and_fast_parts(settings: Settings) -> None:
    """uvloop, no web sockets, no access log, no server name, no trust in proxies' headers."""
    config = uvicorn_config(settings, "postgresql://nowhere", Fitness())
    assert (config.loop, config.ws) == ("uvloop", "none")
    assert not config.access_log
    assert not config.server_header
    assert not config.proxy_headers
