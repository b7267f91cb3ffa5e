"""What /metrics says of replicas and of the journal: what no request sets."""

import asyncio
from pathlib import Path

import psycopg

from serving.journal.ingest import ingest
from serving.journal.segments import count_bytes
from serving.store.database import Database
from tests.gateway import Gateway, is_well, make_settings, running_gateway
from tests.upstream_server import FakeEngine, Fault, fake_engine, streamed

JOURNAL = ("bytes", "unread_bytes", "lag_seconds")


async def shown(gateway: Gateway) -> dict[str, float]:
    """Return every sample, by its line without the value."""
    async with gateway.session.get(gateway.url + "/metrics") as response:
        lines = (await response.text()).splitlines()
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


async def shows(gateway: Gateway, **wanted: float) -> None:
    """Wait until the gauges of the replicas say so."""
    async with asyncio.timeout(60):
        while True:
            found = await shown(gateway)
            read = {
                f"{name}_{place}": found.get(
                    f'strop_replica_{name}{{pool="default",replica="{place}"}}'
                )
                for name in ("healthy", "ejected", "in_flight")
                for place in (0, 1)
            }
            if wanted.items() <= read.items():
                return
            await asyncio.sleep(0.05)


async def test_replicas_are_told_by_their_place(
    tmp_path: Path, engine: FakeEngine, database: Database
) -> None:
    """Healthy or not, out or in, and what each has under way; no address is told to whoever asks."""
    async with fake_engine() as other:
        settings = make_settings(tmp_path, engine, other)
        async with running_gateway(settings, database) as gateway:
            await is_well(gateway)
            await shows(gateway, healthy_0=1, healthy_1=1, ejected_0=0, in_flight_0=0)
            for each in (engine, other):
                each.script = lambda received: streamed(received, ["a"], gap=Fault.STALL)
            asking = [asyncio.create_task(gateway.chat(stream=True)) for _ in range(2)]
            await shows(gateway, in_flight_0=1, in_flight_1=1)
            other.is_healthy = False
            await shows(gateway, healthy_0=1, healthy_1=0)
            assert not any(str(other.port) in line for line in await shown(gateway))
            for each in (engine, other):
                each.hang_up()
            await asyncio.gather(*asking)
            await shows(gateway, in_flight_0=0, in_flight_1=0)


async def test_the_journals_lag_is_told_with_or_without_the_database(
    gateway: Gateway, database: Database
) -> None:
    """What was not ingested is unread and ages; what was is neither, and stays so in an outage."""
    folder = gateway.settings.journal_dir

    async def journal() -> tuple[float, ...]:
        found = await shown(gateway)
        return tuple(found[f"strop_journal_{name}"] for name in JOURNAL)

    await gateway.chat()
    await gateway.ended(1)
    num_bytes, num_unread_bytes, lag_seconds = await journal()
    assert num_bytes == num_unread_bytes == count_bytes(folder)
    assert 0 < lag_seconds < 100
    await ingest(database, folder)
    async with asyncio.timeout(60):
        while await journal() != (num_bytes, 0, 0):  # noqa: ASYNC110 - another process knows
            await asyncio.sleep(0.05)
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("ALTER TABLE strop_segment RENAME TO away")
        assert await journal() == (num_bytes, 0, 0)
        await gateway.chat()
        _, num_unread_bytes, lag_seconds = await journal()
        assert 0 < num_unread_bytes < num_bytes
        assert lag_seconds > 0
        connection.execute("ALTER TABLE away RENAME TO strop_segment")
