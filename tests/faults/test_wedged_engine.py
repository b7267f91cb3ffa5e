"""An engine that lives and does not answer: it is killed with all that it started, and comes again."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx
import psutil

from serving.fleet.program import ChildState, ChildStatus, Pace, Program
from serving.fleet.supervise import Supervisor
from tests.ports import free_port

# Answers every GET; has a child of its own in another session, as vLLM has its EngineCore.
ENGINE = """
import http.server, subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""
PACE = Pace(poll_seconds=0.05, look_seconds=0.05, first_pause_seconds=0.05)


async def test_an_engine_that_hangs_is_killed_and_started_again(tmp_path: Path) -> None:
    """SIGSTOP leaves process and socket alone and nobody answers; it takes no SIGTERM either."""
    port = free_port()
    async with httpx.AsyncClient(timeout=1.0, trust_env=False) as client:
        program = Program(
            name="engine",
            argv=(sys.executable, "-c", ENGINE, str(port)),
            env=dict(os.environ),
            is_ready=partial(answers, client, f"http://127.0.0.1:{port}/health"),
            patience_seconds=4.0,
        )
        supervisor = Supervisor(tmp_path / "logs", PACE)
        supervisor.start(program)
        try:
            first = await running(supervisor, num_restarts=0)
            assert first.pid is not None
            hung = psutil.Process(first.pid)
            family = [hung, *hung.children()]
            hung.send_signal(signal.SIGSTOP)
            second = await running(supervisor, num_restarts=1)
            assert second.exit_status == 128 + signal.SIGKILL
            assert not any(process.is_running() for process in family)
            async with asyncio.timeout(60):
                while not await answers(client, f"http://127.0.0.1:{port}/health"):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        finally:
            await supervisor.stop()


async def answers(client: httpx.AsyncClient, url: str) -> bool:
    """Whether somebody answers 200."""
    try:
        return (await client.get(url)).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


async def running(supervisor: Supervisor, *, num_restarts: int) -> ChildStatus:
    """Wait until the child runs, after so many restarts at least."""

    def is_so() -> bool:
        (status,) = supervisor.statuses
        return status.state is ChildState.RUNNING and status.num_restarts >= num_restarts

    await asyncio.to_thread(wait_for, is_so)
    return supervisor.statuses[0]


def wait_for(is_so: Callable[[], bool]) -> None:
    """Wait until it is so, with a wide deadline."""
    deadline = time.monotonic() + 100
    while not is_so():
        assert time.monotonic() < deadline, "it never was so"
        time.sleep(0.02)
