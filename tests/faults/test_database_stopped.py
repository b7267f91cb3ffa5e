"""The database stands still, then is away, under load: apps notice nothing, and no row is missing."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from serving.store import schema
from serving.store.database import Database
from serving.store.embedded import DATABASE, database_url, let_go, start_server
from tests.faults.apps import NUM_APPS, all_stored, asking, ingesting
from tests.flows.gateway.api.test_frozen_database import frozen
from tests.gateway import Gateway, is_well, make_key, make_settings, running_gateway, until
from tests.scale import Scale
from tests.upstream_server import fake_engine


class OwnServer:
    """A PostgreSQL that a test may stop."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = start_server(folder)
        self.url = database_url(self._server, DATABASE)
        schema.migrate(self.url)

    def stop(self) -> None:
        """Have it end, as its operator would."""
        let_go(self._server)

    def start(self) -> None:
        """Have it serve again, at the same address."""
        self._server = start_server(self._folder)

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """Have nobody at its address while the block runs."""
        await asyncio.to_thread(self.stop)
        try:
            yield
        finally:
            await asyncio.to_thread(self.start)


@pytest.mark.timeout(600)
async def test_apps_do_not_notice_that_the_database_stands_still_or_is_away(
    tmp_path: Path, scale: Scale
) -> None:
    """Not one refusal; every answer and rating is stored afterwards, and changes are heard again."""
    seconds = scale.count(2, full=60)
    # Not under tmp_path: a socket's path may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="strop-") as folder:
        server = await asyncio.to_thread(OwnServer, Path(folder) / "pg")
        try:
            await outlast(server, tmp_path, seconds, scale)
        finally:
            await asyncio.to_thread(server.stop)


async def outlast(server: OwnServer, home: Path, seconds: float, scale: Scale) -> None:
    """Let apps ask before, while and after the database does not answer."""
    database = Database.connect(server.url)
    key = await make_key(database)
    async with fake_engine() as engine:
        settings = make_settings(home, engine)
        async with (
            running_gateway(settings, database) as gateway,
            ingesting(settings, server.url),
        ):
            await is_well(gateway)
            await until(lambda: gateway.runtime.catalog.principal_of(key) is not None)
            async with asking(gateway.url, key) as told:
                await until(lambda: len(told.answered) >= NUM_APPS)
                async with frozen(database):
                    slowest = await watch(gateway, seconds)
                await database.close()
                async with server.away():
                    slowest = max(slowest, await watch(gateway, seconds))
                num_before = len(told.answered)
                await until(lambda: len(told.answered) >= num_before + NUM_APPS)
            assert not told.refused
            database = Database.connect(server.url)
            await all_stored(database, told)
            key = await make_key(database)
            await until(lambda: gateway.runtime.catalog.principal_of(key) is not None, seconds=100)
    await database.close()
    scale.record(
        "database_stopped",
        seconds=seconds,
        acknowledged=told.num,
        refused=told.refused.total(),
        lost=0,
        slowest_live_ms=round(slowest * 1000, 1),
    )


async def watch(gateway: Gateway, seconds: float) -> float:
    """Ask for so long whether the gateway lives; return how long the slowest answer took."""
    slowest, over_at = 0.0, time.monotonic() + seconds
    while time.monotonic() < over_at:
        begun_at = time.monotonic()
        async with gateway.session.get(f"{gateway.url}/health/live") as response:
            assert response.status == 200
        slowest = max(slowest, time.monotonic() - begun_at)
        await asyncio.sleep(0.05)
    return slowest
