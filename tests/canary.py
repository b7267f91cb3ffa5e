"""A word that clients and engines say and that nothing of ours may repeat, however a request ends."""

import json
from collections.abc import AsyncIterator, Mapping

from tests.gateway import Gateway
from tests.upstream_server import Answer, FakeEngine, Fault

CANARY = "CANARY-7f3a"
_PATH = "/v1/chat/completions"


async def said_in_every_way(
    gateway: Gateway, engine: FakeEngine, headers: Mapping[str, str] | None = None
) -> AsyncIterator[None]:
    """Have the word said in prompts, answers, names and keys; go on after each of nine requests."""
    given = dict(headers or {})
    said = {"messages": [{"role": "user", "content": CANARY}], "user": CANARY, "stream": True}
    for answer in _answers():
        engine.script = lambda _, answer=answer: answer
        await gateway.post(_PATH, json.dumps({"model": "base", **said}).encode(), given)
        yield
    await gateway.post(_PATH, b'{"model": "' + CANARY.encode(), given)
    yield
    await gateway.post(_PATH, json.dumps({**said, "model": CANARY}).encode(), given)
    yield
    await gateway.post(_PATH, b"{}", {**given, "Authorization": f"Bearer {CANARY}"})
    yield


def _answers() -> list[Answer]:
    word = CANARY.encode()
    stream = {"content-type": "text/event-stream", "x-said": CANARY}
    return [
        Answer(pieces=[b'{"usage": "' + word + b'"}']),
        Answer(status=500, pieces=[word]),
        Answer(status=400, pieces=[word]),
        Answer(headers=stream, pieces=[b"data: " + word + b"\n\n", b"data: [DONE]\n\n"]),
        Answer(headers=stream, pieces=[b"data: " + word + b"\n\n", 0.05, Fault.RESET]),
        Answer(before_head=Fault.RESET),
    ]
