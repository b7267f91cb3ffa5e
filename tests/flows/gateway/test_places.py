"""For how long a request keeps its place at a replica."""

import asyncio
from pathlib import Path

from serving.store.database import Database
from tests.flows.gateway.test_replicas import a_gateway_over, broken
from tests.gateway import until
from tests.upstream_server import Answer, Fault, streamed


async def test_a_trial_is_passed_with_the_first_event(tmp_path: Path, database: Database) -> None:
    """A long stream says early on that its replica is well; others need not wait for its end."""
    routing = {"eject_after": 1, "eject_seconds": 0.05}
    async with a_gateway_over(1, tmp_path, database, **routing) as (gateway, (engine,)):
        engine.script = broken
        assert (await gateway.chat()).status == 502
        engine.script = lambda received: streamed(received, ["a"], gap=Fault.STALL)
        await asyncio.sleep(0.1)
        streaming = asyncio.create_task(gateway.chat(stream=True))
        await until(lambda: not gateway.runtime.dispatcher.is_ejected(engine.url))
        assert not streaming.done()
        streaming.cancel()


async def test_who_reads_a_whole_answer_slowly_keeps_no_place(
    tmp_path: Path, database: Database
) -> None:
    """The engine has done its part: its place is another one's."""
    long = Answer(pieces=[b'{"choices":[{"text":"%b"}]}' % (b"x" * 2**25)])
    async with a_gateway_over(1, tmp_path, database, max_in_flight=1) as (gateway, (engine,)):
        engine.script = lambda _: long
        body = {"model": "base", "messages": [{"role": "user", "content": "Hi"}]}
        headers = {"Authorization": f"Bearer {gateway.key}"}
        url = f"{gateway.url}/v1/chat/completions"
        async with gateway.session.post(url, json=body, headers=headers) as unread:
            assert unread.status == 200
            assert gateway.runtime.dispatcher.load_of(engine.url) == 0
            assert gateway.ends() == []
