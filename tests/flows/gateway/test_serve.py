"""`serve`: what runs in production, as a process of its own."""

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path

import aiohttp
import pytest

from gateway.serve import uvicorn_config
from serving.settings import Settings
from serving.store.database import Database
from tests.gateway import make_key, make_settings
from tests.upstream_server import FakeEngine

PROGRAM = """
import sys
from gateway.serve import serve
from serving.settings import Settings
if __name__ == "__main__":
    try:
        serve(Settings.model_validate_json(sys.argv[1]), sys.argv[2])
    finally:
        heavy = {"numpy", "torch", "transformers", "peft", "trl", "vllm"}
        print("loaded:", sorted(heavy & set(sys.modules)))
        print("store closed", flush=True)
"""


def a_free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_gateway_serves_and_stops_on_sigterm(
    tmp_path: Path, engine: FakeEngine, database: Database, workers: int
) -> None:
    """One worker or several: ready, metrics of all, and a clean end that unwinds its caller.

    The one worker is the process that we started: after all that, it holds nothing of the trainer.
    """
    port = a_free_port()
    settings = make_settings(tmp_path, engine, port=port, workers=workers)
    key = await make_key(database)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(program),
        settings.model_dump_json(),
        database.url,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as session:
        await become_ready(session, process)
        body = {"model": "base", "messages": [{"role": "user", "content": "a"}]}
        for _ in range(4):
            async with session.post("/v1/chat/completions", json=body) as response:
                assert response.status == 200
        async with session.get("/metrics") as response:
            assert 'status="ok"} 4.0' in await response.text()
    process.send_signal(signal.SIGTERM)
    output, log = await process.communicate()
    assert b"store closed" in output
    assert b"loaded: []" in output, output
    assert process.returncode == 0
    lines = [json.loads(line) for line in log.decode().splitlines()]
    assert all(line["level"] in ("info", "warning") for line in lines), lines


async def become_ready(session: aiohttp.ClientSession, process: asyncio.subprocess.Process) -> None:
    """Wait until the gateway is ready."""
    async with asyncio.timeout(90):
        while process.returncode is None:
            try:
                async with session.get("/health/ready") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.1)
    raise AssertionError("the gateway ended")


def test_uvicorn_runs_its_safe_and_fast_parts(settings: Settings) -> None:
    """uvloop, no web sockets, no access log, no server name, no trust in proxies' headers."""
    config = uvicorn_config(settings, "postgresql://nowhere")
    assert (config.loop, config.ws) == ("uvloop", "none")
    assert not config.access_log
    assert not config.server_header
    assert not config.proxy_headers
