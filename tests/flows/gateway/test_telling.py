"""What logs and metrics tell of requests: never what was said, nor a key, nor more for strangers."""

import asyncio
import logging

import pytest

from gateway.logs import JsonFormatter
from tests.gateway import Gateway
from tests.upstream_server import Answer, FakeEngine, Fault

SENTINEL = "CANARY-7f3a"
SAID = {"messages": [{"role": "user", "content": SENTINEL}], "user": SENTINEL}


async def metrics_of(gateway: Gateway) -> str:
    """Return what Prometheus gets."""
    async with gateway.session.get(gateway.url + "/metrics") as response:
        return await response.text()


async def test_nothing_that_was_said_is_told(
    gateway: Gateway, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """Prompt, answer, user, key: in no log line and no metric, whatever goes wrong."""
    caplog.set_level(logging.DEBUG)
    words = SENTINEL.encode()
    stream = {"content-type": "text/event-stream"}
    for answer in (
        Answer(pieces=[b'{"usage": "' + words + b'"}']),
        Answer(status=500, pieces=[words]),
        Answer(status=400, pieces=[words]),
        Answer(headers=stream, pieces=[b"data: " + words + b"\n\n", b"data: [DONE]\n\n"]),
        Answer(headers=stream, pieces=[b"data: " + words + b"\n\n", 0.05, Fault.RESET]),
        Answer(before_head=Fault.RESET),
    ):
        engine.script = lambda _, answer=answer: answer
        await gateway.chat(stream=True, **SAID)
    await gateway.post("/v1/chat/completions", b'{"model": "' + words)
    await gateway.chat(model=SENTINEL)
    await gateway.post("/v1/chat/completions", b"{}", {"Authorization": f"Bearer {SENTINEL}"})
    lines = [JsonFormatter().format(record) for record in caplog.records]
    told = "\n".join([*lines, await metrics_of(gateway)])
    assert lines
    assert SENTINEL not in told
    assert gateway.key not in told


async def test_strangers_make_no_new_series(gateway: Gateway) -> None:
    """Names that clients think up are no labels: any number of them costs what one costs."""
    await gateway.chat()
    await gateway.chat(model="unknown")
    async with asyncio.timeout(60):
        while "strop_replica_in_flight{" not in await metrics_of(gateway):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    before = (await metrics_of(gateway)).count("\n")
    for number in range(30):
        await gateway.chat(model=f"unknown-{number}")
        await gateway.chat(model=f"base@{number}")
    assert (await metrics_of(gateway)).count("\n") == before
