"""A gateway as `strop gateway` runs it: a process with its workers, on a port of its own."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from serving.settings import Settings

PROGRAM = """
import sys
from gateway.serve import serve
from serving.settings import Settings
if __name__ == "__main__":
    try:
        serve(Settings.model_validate_json(sys.argv[1]), sys.argv[2])
    finally:
        heavy = {"numpy", "opentelemetry.sdk", "torch", "transformers", "peft", "trl", "vllm"}
        print("loaded:", sorted(heavy & set(sys.modules)))
        print("store closed", flush=True)
"""


@dataclass(frozen=True)
class Served:
    """A gateway that is ready, and a client of it that carries a key."""

    process: asyncio.subprocess.Process
    session: aiohttp.ClientSession


@asynccontextmanager
async def served(settings: Settings, url: str, key: str) -> AsyncIterator[Served]:
    """Run a gateway until the block ends; then SIGKILL what the block left."""
    program = settings.home / "program.py"
    program.write_text(PROGRAM)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(program),
        settings.model_dump_json(),
        url,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        start_new_session=True,
    )
    headers = {"Authorization": f"Bearer {key}"}
    # A connection each, or all of them would stay with the worker that was there first.
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    address = f"http://127.0.0.1:{settings.gateway.port}"
    try:
        async with aiohttp.ClientSession(address, headers=headers, connector=connector) as session:
            await become_ready(session, process)
            yield Served(process, session)
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)  # its workers too
            await process.communicate()


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
