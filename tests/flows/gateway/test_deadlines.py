"""How long an engine is waited for: a stream's first byte, and an answer that comes as a whole."""

from pathlib import Path

import pytest

from serving.store.database import Database
from tests.gateway import is_well, make_settings, running_gateway, until
from tests.upstream_server import Answer, FakeEngine, Fault, Received, answer_like_vllm


@pytest.mark.parametrize(
    ("is_streamed", "limit"), [(True, "first_byte_seconds"), (False, "answer_seconds")]
)
async def test_silence_of_the_engine_is_504(
    tmp_path: Path, engine: FakeEngine, database: Database, is_streamed: bool, limit: str
) -> None:
    """No first byte in time: given up, and not tried again elsewhere."""
    settings = make_settings(tmp_path, engine, **{limit: 0.3})
    engine.script = lambda _: Answer(before_head=Fault.STALL)
    async with running_gateway(settings, database) as gateway:
        await is_well(gateway)
        response = await gateway.chat(stream=is_streamed)
        assert response.status == 504
        await until(lambda: engine.num_hung_up == 1)


async def test_what_is_not_streamed_may_take_longer_than_a_streams_first_byte(
    tmp_path: Path, engine: FakeEngine, database: Database
) -> None:
    """An engine says nothing of it before its end: that is work, not silence."""
    settings = make_settings(tmp_path, engine, first_byte_seconds=0.1)

    def slowly(received: Received) -> Answer:
        answer = answer_like_vllm(received)
        answer.before_head = 0.4
        return answer

    engine.script = slowly
    async with running_gateway(settings, database) as gateway:
        await is_well(gateway)
        assert (await gateway.chat()).status == 200
