"""A gateway worker dies in the middle of requests: what was begun is in the database, once."""

import asyncio

import aiohttp
import psycopg

from tests.load import Outcome, stream_once
from tests.scale import Scale
from tests.stack import Stack, is_ready, wait_until

REQUESTS = 200


async def test_requests_of_a_killed_gateway_are_each_recorded_once(
    stack: Stack, scale: Scale
) -> None:
    """kill -9 of the gateway amid 200 requests: every one begun is there once, marked."""
    outcomes = await kill_amid(stack, REQUESTS)
    begun = {o.inference_id: o for o in outcomes if o.inference_id is not None}
    assert any(o.is_ok for o in outcomes), "killed before anything was answered"
    assert any(not o.is_ok for o in begun.values()), "killed after everything was answered"
    with stack.store() as url:
        await asyncio.to_thread(
            wait_until, lambda: set(begun) <= set(statuses(url)), 120, "all are ingested"
        )
        await asyncio.to_thread(
            wait_until,
            lambda: "running" not in statuses(url).values(),
            120,
            "nothing of the dead worker counts as running",
        )
        found, num_rows = statuses(url), num_inferences(url)
    assert num_rows == len(found)
    # A request may be recorded as whole although its client never saw the end: the kernel
    # threw away what was still on the way. The other way round would be a lie.
    lies = {
        id_: found[id_] for id_, outcome in begun.items() if outcome.is_ok and found[id_] != "ok"
    }
    assert lies == {}
    interrupted = sum(found[id_] == "interrupted" for id_ in begun)
    assert interrupted > 0
    scale.record(
        "gateway_killed",
        requests=REQUESTS,
        begun=len(begun),
        recorded_once=len(begun),
        interrupted=interrupted,
    )


async def kill_amid(stack: Stack, count: int) -> list[Outcome]:
    """Send `count` requests, kill the gateway when a quarter is answered, wait for a new one."""
    headers = {"Authorization": f"Bearer {stack.key}"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session:
        tasks = [
            asyncio.create_task(
                stream_once(session, stack.url, "support", f"Where is order {number}?", 48)
            )
            for number in range(count)
        ]
        await asyncio.to_thread(
            wait_until,
            lambda: sum(task.done() for task in tasks) >= count // 4,
            300,
            "a quarter is answered",
        )
        for process in stack.processes("gateway"):
            process.kill()
        outcomes = await asyncio.gather(*tasks)
    await asyncio.to_thread(wait_until, lambda: is_ready(stack), 120, "the gateway is back")
    return outcomes


def statuses(url: str) -> dict[str, str]:
    """Return the status of every inference."""
    with psycopg.connect(url) as connection:
        return dict(connection.execute("SELECT id, status FROM strop_inference").fetchall())


def num_inferences(url: str) -> int:
    """Return how many rows there are."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM strop_inference").fetchone()
        assert row is not None
        return int(row[0])
