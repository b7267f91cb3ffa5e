"""The worker: due jobs run, a change of the catalogue is heard, and it stops when told."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from retrain.jobs import Job
from retrain.worker import run_jobs, work
from serving.sections import WorkerSettings
from serving.settings import Settings
from serving.store.database import Database, raise_revision
from tests.ports import free_port


async def test_a_new_revision_runs_the_reconciler_at_once(database: Database) -> None:
    """Long before it is due, the reconciler runs when the catalogue has changed."""
    num_runs = {"ingest": 0, "reconcile": 0}

    def job(name: str) -> Job:
        async def count() -> None:
            num_runs[name] += 1

        return Job(name=name, seconds=3600, work=count)

    stopping = asyncio.Event()
    jobs = [job("ingest"), job("reconcile")]
    running = asyncio.create_task(run_jobs(jobs, database, stopping))
    async with asyncio.timeout(60):
        # The first word may come before the worker listens: it runs once by itself, then by word.
        while num_runs["reconcile"] < 4:
            async with database.session() as session:
                await raise_revision(session)
            await asyncio.sleep(0.05)
        stopping.set()
        await running
    assert num_runs["ingest"] == 1


@pytest.mark.parametrize("only", [None, "ingest"])
async def test_the_real_jobs_run_and_stop(
    database: Database, tmp_path: Path, only: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """On a home without engines' answers the worker works on, and stops when told."""
    port = free_port()
    worker = WorkerSettings(ingest_seconds=0.05, metrics_port=port)
    settings = Settings(home=tmp_path, worker=worker)
    settings.journal_dir.mkdir()
    stopping = asyncio.Event()
    with caplog.at_level("INFO", "strop.retrain"):
        running = asyncio.create_task(work(settings, database.url, stopping, only))
        async with asyncio.timeout(60):
            while not await has_ingested(port):  # noqa: ASYNC110 - it is asked from outside
                await asyncio.sleep(0.05)
        stopping.set()
        await asyncio.wait_for(running, 60)
    heartbeats = [record for record in caplog.records if record.name == "strop.retrain"]
    heartbeat = heartbeats[-1].getMessage()
    assert "ingest" in heartbeat
    for job in ("reconcile", "sample", "learn", "look", "purge"):
        assert (f"{job} " in heartbeat) is (only is None)
    assert ", 0 failed" in heartbeat
    assert ", 1 failed" not in heartbeat
    assert "ingest 0 runs" not in heartbeat


async def has_ingested(port: int) -> bool:
    """Whether a pass has ended, by the worker's metrics."""
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        try:
            text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
        except httpx.TransportError:
            return False
    return "strop_ingest_last_pass_timestamp_seconds 0.0" not in text


def test_without_a_database_the_worker_lives_and_stops_on_sigterm(tmp_path: Path) -> None:
    """A database that is away makes it wait, not die; SIGTERM ends it in good order."""
    program = (
        "import logging, sys\n"
        "from pathlib import Path\n"
        "from retrain.worker import run_worker\n"
        "from serving.settings import Settings\n"
        "logging.basicConfig(level='INFO')\n"
        "run_worker(Settings(home=Path(sys.argv[1])), 'postgresql://127.0.0.1:1/none')\n"
    )
    log = tmp_path / "log"
    (tmp_path / "journal").mkdir()
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stderr=output)
    try:
        deadline = time.monotonic() + 60
        while "failed (2 in a row)" not in log.read_text() and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.1)
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()
    finally:
        process.kill()
    assert "failed (2 in a row)" in log.read_text()
