"""A worker that cannot go on, as its journal's disk failed: told, refused, drained and replaced."""

import asyncio
import multiprocessing
import os
import signal
import socket
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import aiohttp
import pytest
import uvicorn
from litestar.types import ASGIApp

from gateway.http.routes import Routes
from gateway.serve import _run_worker, serve
from gateway.server import Fitness, LeavingServer
from gateway.supervised import Main
from gateway.workers import Workers
from serving.journal.records import End
from serving.sections import JournalSettings
from serving.settings import Settings
from serving.store.database import Database
from serving.types import InferenceStatus
from tests.flows.gateway.test_restart import ask
from tests.flows.gateway.test_stuck import answer, end
from tests.gateway import (
    is_well,
    make_key,
    make_settings,
    read_journal,
    running_gateway,
    until,
    who_answered,
)
from tests.ports import free_port
from tests.upstream_server import FakeEngine, answer_like_vllm, answer_when


def with_power(settings: Settings) -> Settings:
    """Return settings by which what is acknowledged is on the disk."""
    return settings.model_copy(update={"journal": JournalSettings(durability="power")})


def fail(descriptor: int) -> None:
    """Sync as a disk does that is broken."""
    raise OSError(5, "Input/output error")


async def test_a_failed_sync_takes_readiness_with_it(
    settings: Settings, engine: FakeEngine, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is taken that cannot be promised, the disk well again or not; probes are told why."""
    async with running_gateway(with_power(settings), database) as gateway:
        await is_well(gateway)
        assert (await gateway.chat()).status == 200
        with monkeypatch.context() as broken:
            broken.setattr(os, "fdatasync", fail)
            assert (await gateway.chat()).status == 503
        refused = await gateway.chat()
        assert (refused.status, refused.error["code"]) == (503, "journal_unwritable")
        async with gateway.session.get(gateway.url + "/health/ready") as response:
            assert response.status == 503
            assert "disk has failed" in await response.text()
        assert len(engine.calls) == 1


async def test_a_worker_whose_disk_failed_is_replaced_and_what_it_promised_is_kept(
    tmp_path: Path, engine: FakeEngine, database: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    """It stays until another worker answers, in a segment of its own, and ends what it has begun."""
    settings = with_power(make_settings(tmp_path, engine, drain_seconds=60))
    broken = tmp_path / "broken"
    key, no_log = await make_key(database), await make_key(database, no_log=True)
    main = partial(run_on_a_disk, broken, settings.model_dump_json(), database.url)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        supervisor = multiprocessing.get_context("spawn").Process(
            target=supervise, args=(listener, main)
        )
        supervisor.start()
    try:
        async with client(address, key) as logged, client(address, no_log) as unlogged:
            num_answered = await answers(logged) + await answers(logged)
            may_answer = asyncio.Event()
            engine.script = answer_when(may_answer)
            asking = asyncio.create_task(ask(unlogged))
            await until(lambda: len(engine.calls) == 3)
            broken.touch()
            assert (await ask(logged)).startswith("503")
            broken.unlink()
            engine.script = answer_like_vllm
            num_answered += await answers(logged)
            may_answer.set()
            assert await asking == "200 whole"
    finally:
        end(supervisor)
    assert len(who_answered(settings)) == 2
    assert "cannot go on; it is replaced" in capfd.readouterr().err
    ends = [record for record in read_journal(settings) if isinstance(record, End)]
    assert sum(end.status is InferenceStatus.OK for end in ends) == num_answered == 3


def test_a_single_worker_that_is_lost_ends_with_status_1(tmp_path: Path) -> None:
    """Whoever started it starts another."""
    single = multiprocessing.get_context("spawn").Process(
        target=serve_lost, args=(tmp_path, free_port())
    )
    single.start()
    try:
        single.join(60)
        assert single.exitcode == 1
    finally:
        single.kill()


async def test_the_first_signal_to_one_that_is_lost_hurries_nobody() -> None:
    """Lost or not, it drains at the first one."""
    fitness = Fitness()
    fitness.is_lost = lambda: True
    with patch("gateway.server._SHORTEST_LIFE_SECONDS", 0):
        server = LeavingServer(uvicorn.Config(answer), notice_seconds=0, fitness=fitness)
        assert await server.on_tick(1)
    assert [sent(server, signal.SIGTERM) for _ in range(2)] == [False, True]


async def test_what_is_lost_at_each_start_is_not_started_over_and_over() -> None:
    """It stays for half a minute, and refuses; one that has served for long leaves at once."""
    clock = SimpleNamespace(monotonic=lambda: 100.0)
    with patch("gateway.server.time", clock):
        fitness = Fitness()
        server = LeavingServer(uvicorn.Config(answer), notice_seconds=0, fitness=fitness)
        fitness.is_lost = lambda: True
        assert not await server.on_tick(1)
        clock.monotonic = lambda: 129.0
        assert not await server.on_tick(2)
        clock.monotonic = lambda: 130.0
        assert await server.on_tick(3)


def sent(server: LeavingServer, number: signal.Signals) -> bool:
    """Send a signal, or have it look like that; return whether the server hurries."""
    with patch.object(server, "hurry") as hurry:
        server.handle_exit(number, None)
    return hurry.called


def client(address: str, key: str) -> aiohttp.ClientSession:
    """Return a client that makes a connection for each request: a worker that leaves closes them."""
    return aiohttp.ClientSession(
        address,
        headers={"Authorization": f"Bearer {key}"},
        connector=aiohttp.TCPConnector(force_close=True),
    )


async def answers(session: aiohttp.ClientSession) -> int:
    """Ask until there is one answer; return how many there were."""
    async with asyncio.timeout(90):
        while True:
            try:
                if await ask(session) == "200 whole":
                    return 1
            except aiohttp.ClientError:  # a connection that the one that leaves never took up
                pass
            await asyncio.sleep(0.1)


def supervise(listener: socket.socket, main: Main) -> None:
    """Keep one worker on the socket."""
    Workers(main, listener, 1, leave_seconds=5, patience_seconds=60).run()


def run_on_a_disk(
    broken: Path, settings: str, url: str, listener: socket.socket, line: Connection
) -> None:
    """Run a worker as `serve` does, on a disk that fails while that file is there."""
    well = os.fdatasync

    def sync(descriptor: int) -> None:
        (fail if broken.exists() else well)(descriptor)

    with patch("os.fdatasync", sync), patch("gateway.server._SHORTEST_LIFE_SECONDS", 0):
        _run_worker(settings, url, listener, line)


def serve_lost(home: Path, port: int) -> None:
    """Serve as `strop gateway` does with one worker, one that is lost from the start."""
    known = Settings.model_validate({"home": home, "gateway": {"port": port, "workers": 1}})
    with (
        patch("gateway.serve.build_worker", build_lost),
        patch("gateway.server._SHORTEST_LIFE_SECONDS", 0),
    ):
        serve(known, "postgresql://nowhere")


def build_lost(settings: Settings, url: str, routes: Routes, fitness: Fitness) -> ASGIApp:
    """Build an application that cannot go on."""
    fitness.is_lost = lambda: True
    return answer
