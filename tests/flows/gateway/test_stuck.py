"""Workers that stand still: alive, taking connections, and answering nobody."""

import asyncio
import multiprocessing
import os
import signal
import socket
import time
from collections import Counter
from contextlib import closing, suppress
from functools import partial
from http.client import HTTPConnection
from itertools import count
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import aiohttp
import psutil
import pytest
import uvicorn
from litestar.types import Receive, Scope, Send

from gateway.serve import serve
from gateway.server import LeavingServer
from gateway.supervised import Main, serve_as_worker
from gateway.workers import Workers
from serving.settings import Settings
from serving.store.database import Database
from tests.flows.gateway.test_restart import ask, children_of, end_of, pid_of
from tests.gateway import make_key, make_settings, until, who_answered
from tests.ports import free_port
from tests.serving import served
from tests.upstream_server import FakeEngine, streamed

WORDS = ["a", "b"]


async def test_a_worker_that_is_stopped_is_replaced_and_the_other_answers_meanwhile(
    tmp_path: Path, engine: FakeEngine, database: Database
) -> None:
    """Only what it was answering is lost, and nobody kills the one that is well."""
    settings = make_settings(tmp_path, engine, port=free_port(), workers=2, patience_seconds=4)
    engine.script = lambda received: streamed(received, WORDS, gap=0.02)
    async with served(settings, database.url, await make_key(database)) as gateway:
        while len(who_answered(settings)) < 2:
            await asyncio.gather(*(ask(gateway.session) for _ in range(20)))
        stuck, well = (pid_of(worker_id) for worker_id in who_answered(settings))
        outcomes, is_over = Counter[str](), asyncio.Event()

        async def call_on() -> None:
            while not is_over.is_set():
                try:
                    outcomes[await ask(gateway.session)] += 1
                except aiohttp.ClientError:
                    outcomes["lost"] += 1

        calling = [asyncio.create_task(call_on()) for _ in range(4)]
        await until(lambda: outcomes.total() > 20)
        os.kill(stuck, signal.SIGSTOP)
        for _ in range(10):
            assert await ask(gateway.session) == "200 whole"
        assert children_of(gateway) == {stuck, well}
        await until(lambda: stuck not in children_of(gateway), seconds=100)
        await until(lambda: len(children_of(gateway)) == 2, seconds=100)
        assert well in children_of(gateway)
        is_over.set()
        await asyncio.gather(*calling)
        assert set(outcomes) <= {"200 whole", "lost"}
        assert outcomes["lost"] <= len(calling)
        gateway.process.send_signal(signal.SIGTERM)
        assert await end_of(gateway) == 0


@pytest.mark.prove
def test_an_event_loop_that_never_comes_back_is_noticed() -> None:
    """The worker's other threads run on, and do not speak for it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        supervisor = multiprocessing.get_context("spawn").Process(
            target=supervise, args=(listener,)
        )
        supervisor.start()
    try:
        first = get(port, "/")
        with pytest.raises(ConnectionError):
            get(port, "/turn-for-ever")
        assert get(port, "/") != first
        assert supervisor.pid is not None
        os.kill(supervisor.pid, signal.SIGTERM)
        supervisor.join(60)
        assert supervisor.exitcode == 0
    finally:
        supervisor.kill()


@pytest.mark.prove
def test_a_worker_that_never_gets_ready_is_replaced(tmp_path: Path) -> None:
    """Nobody asks it whether its event loop turns; it may have none yet."""
    asleep = tmp_path / "asleep"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        supervisor = multiprocessing.get_context("spawn").Process(
            target=supervise, args=(listener, partial(work_unless_first, asleep), 2)
        )
        supervisor.start()
    try:
        answered = set[bytes]()
        deadline = time.monotonic() + 90
        while len(answered) < 2 and time.monotonic() < deadline:
            answered.add(get(port, "/"))
        assert len(answered) == 2
        assert asleep.read_bytes() not in answered
    finally:
        end(supervisor)


@pytest.mark.prove
def test_a_family_that_was_stopped_for_long_is_well() -> None:
    """SIGSTOP or `docker pause`: the clock went on, and nobody could; a start takes no longer by it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        supervisor = multiprocessing.get_context("spawn").Process(
            target=supervise_by_leaps, args=(listener,)
        )
        supervisor.start()
    try:
        assert get(port, "/") == get(port, "/")
        assert supervisor.is_alive()
    finally:
        end(supervisor)


async def test_a_single_worker_whose_event_loop_stands_still_ends_and_says_where(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nobody watches it but itself; whoever started it starts another."""
    port = free_port()
    single = multiprocessing.get_context("spawn").Process(target=serve_alone, args=(tmp_path, port))
    single.start()
    try:
        await until(lambda: is_open(port))
        assert get(port, "/") == str(single.pid).encode()
        with pytest.raises(ConnectionError):
            get(port, "/turn-for-ever")
        single.join(60)
        assert single.exitcode == 1
        assert "test_stuck.py" in capfd.readouterr().err
    finally:
        single.kill()


def is_open(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def get(port: int, path: str) -> bytes:
    """Ask one worker's address; the port is taken before any worker listens."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", path)
        return connection.getresponse().read()


def supervise(listener: socket.socket, main: Main | None = None, count: int = 1) -> None:
    """Keep workers on the socket, with little patience."""
    Workers(
        main or work, listener, count, leave_seconds=5, patience_seconds=3, start_seconds=20
    ).run()


def supervise_by_leaps(listener: socket.socket) -> None:
    """Keep a worker on the socket, and be an hour older at every look at the clock."""
    clock = SimpleNamespace(monotonic=count(0, 3600).__next__, sleep=time.sleep)
    with patch("gateway.supervised.time", clock):
        supervise(listener)


def end(supervisor: BaseProcess) -> None:
    """Kill it and its workers."""
    family = psutil.Process(supervisor.pid).children(recursive=True)
    supervisor.kill()  # first, or it would start others in their place
    for child in family:
        with suppress(psutil.NoSuchProcess):
            child.kill()


def work_unless_first(asleep: Path, listener: socket.socket, line: Connection) -> None:
    """Sleep instead, once; say in that file who did."""
    try:
        with asleep.open("x") as file:
            file.write(str(os.getpid()))
    except FileExistsError:
        work(listener, line)
    else:
        signal.pause()


def work(listener: socket.socket, line: Connection) -> None:
    """Answer with the process id, or not at all."""
    server = LeavingServer(uvicorn.Config(answer, lifespan="off"), notice_seconds=0, is_alone=False)
    serve_as_worker(server, listener, line)


def serve_alone(home: Path, port: int) -> None:
    """Serve as `strop gateway` does with one worker, with little patience and another application."""
    known = Settings.model_validate(
        {"home": home, "gateway": {"port": port, "patience_seconds": 2, "workers": 1}}
    )
    with patch("gateway.serve.build_worker", return_value=answer):
        serve(known, "postgresql://nowhere")


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Turn for ever, if asked to."""
    if scope["type"] == "lifespan":
        await live(receive, send)
        return
    while scope["path"] == "/turn-for-ever":
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send(
        {"type": "http.response.body", "body": str(os.getpid()).encode(), "more_body": False}
    )


async def live(receive: Receive, send: Send) -> None:
    """Have nothing to start and nothing to stop."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
