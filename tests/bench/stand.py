"""A Strop of its own under load: one worker, everything on, and its rows counted afterwards."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg

from serving.home import initialise_home
from serving.journal.ingest import ingest
from serving.routing.catalog import Quota
from serving.settings import Settings, load_settings
from serving.store.database import Database
from serving.store.embedded import open_store
from tests.bench.peers import Target
from tests.gateway import make_alias, make_key
from tests.stack import mapped_environment, stack_environment, wait_until

ALIAS = "support"
_PLENTY = Quota(rpm=10**6, tpm=10**9, concurrency=10**5, budget=10**15)
"""Limits that are all counted and never reached."""


@dataclass
class Stand:
    """A home whose alias `support` the base at an upstream serves, and a limited key for it."""

    settings: Settings
    environment: dict[str, str]
    url: str
    """The database's."""
    key: str
    num_asked: int = 0
    """Requests of our own, to see whether it answers."""

    @contextmanager
    def gateway(self) -> Iterator[Target]:
        """Run `strop gateway` until the block ends; yield it when it answers."""
        with self.starting() as target:
            wait_until(target.answers, 60, f"strop answers (see {self.log('gateway')})")
            self.num_asked += 1
            yield target

    @contextmanager
    def starting(self) -> Iterator[Target]:
        """Run `strop gateway`; its upstream may come later. At the end SIGTERM."""
        with self._running("gateway") as process:
            yield Target(
                name="strop",
                url=f"http://127.0.0.1:{self.settings.gateway.port}",
                model=ALIAS,
                headers={"Authorization": f"Bearer {self.key}"},
                process=psutil.Process(process.pid),
            )

    @contextmanager
    def ingesting(self) -> Iterator[None]:
        """Run `strop worker --only ingest` until the block ends."""
        with self._running("worker", "--only", "ingest"):
            yield

    def log(self, name: str) -> Path:
        """Return where a process of ours writes."""
        return self.settings.home / f"{name}.out"

    def drain(self) -> dict[str, float]:
        """Bring the whole journal into the database; return how many records that were, how fast."""
        began_at, num_records = time.monotonic(), 0
        while found := asyncio.run(self._ingest()):
            num_records += found
        seconds = time.monotonic() - began_at
        return {"records": num_records, "records_per_second": round(num_records / seconds)}

    def ok_ids(self) -> set[str]:
        """Return the inferences that the database holds as answered."""
        with psycopg.connect(self.url) as connection:
            query = "SELECT id FROM strop_inference WHERE status = 'ok'"
            return {row[0] for row in connection.execute(query)}

    async def _ingest(self) -> int:
        database = Database.connect(self.url)
        try:
            return (await ingest(database, self.settings.journal_dir)).num_records
        finally:
            await database.close()

    @contextmanager
    def _running(self, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        with self.log(words[0]).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "gateway.command.main", *words],
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(90)


@contextmanager
def standing(upstream: str) -> Iterator[Stand]:
    """Make a home in front of `upstream`, its database running; it is gone after the block."""
    # As root, PostgreSQL runs as a user of its own, who has to pass through.
    with tempfile.TemporaryDirectory(prefix="strop-bench-") as folder:
        environment = stack_environment(
            Path(folder),
            STROP_ENGINE__URLS=f'["{upstream}"]',
            STROP_JOURNAL__MAX_BYTES=str(16 * 2**30),  # nobody reads it while the load runs
            PYTHONPATH=str(Path.cwd()),
        )
        with mapped_environment(environment):
            settings = load_settings()
        Path(folder).chmod(0o711)
        with open_store(settings) as url:
            initialise_home(settings, url)
            key = asyncio.run(_make_key(settings, url))
            yield Stand(settings, environment, url, key)


async def _make_key(settings: Settings, url: str) -> str:
    database = Database.connect(url)

    try:
        await make_alias(database, settings, ALIAS)
        return await make_key(database, aliases=[ALIAS], quota=_PLENTY)
    finally:
        await database.close()


def kill(target: Target) -> None:
    """SIGKILL."""
    assert target.process is not None
    os.kill(target.process.pid, signal.SIGKILL)
