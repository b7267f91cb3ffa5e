"""Streams as vLLM 0.32's own serializers wrote them, in the dialects that are not a chat's.

`data/streams/NAME.sse` is the stream and `NAME.json` the same answer in one piece.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

from gateway.dialects.endpoint import Endpoint
from gateway.dialects.messages import MESSAGES
from gateway.dialects.responses import RESPONSES
from serving.journal.records import End
from serving.journal.rows import end_row
from serving.store.tables import Inference
from serving.types import InferenceStatus
from tests.journal import make_begin

DATA = Path(__file__).parent / "data" / "streams"
WHOLE = ["messages-text", "messages-tools", "responses-text", "responses-tools", "responses-cut"]
NAMES = [*WHOLE, "messages-failed"]
SAID = 'It left on Monday,\u2028line "two" \\ [DONE].'
CALLS = [
    {
        "id": "call-1",
        "type": "function",
        "function": {"name": "find_parcel", "arguments": {"id": 7}},
    },
    {"id": "call-2", "type": "function", "function": {"name": "now", "arguments": {}}},
]
# A signature is a chance word, and a plain message leaves out what is null.
CHANCE = ("signature", "stop_sequence")


def endpoint_of(name: str) -> Endpoint:
    """Return where a stream comes from."""
    return MESSAGES if name.startswith("messages") else RESPONSES


@cache
def stream_of(name: str) -> bytes:
    """Return a stream's bytes."""
    return (DATA / f"{name}.sse").read_bytes()


def row_of(response: bytes, *, is_sse: bool) -> dict[str, Any]:
    """Return what ingest makes of an answer."""
    begin = make_begin("question")
    return end_row(
        End(
            id=begin.id,
            status=InferenceStatus.OK,
            end_to_end_ms=1,
            response=response,
            is_sse=is_sse,
        )
    )._asdict()


def inference_of(name: str, response: bytes, *, is_sse: bool = True, **request: Any) -> Inference:
    """Return an inference as people and training read it."""
    answer = row_of(response, is_sse=is_sse)["response"]
    return Inference(
        endpoint=endpoint_of(name).path,
        request=request,
        response=json.loads(answer) if answer else None,
    )


def without_chance(found: Any) -> Any:
    """Leave out what differs from one answer to the next."""
    if isinstance(found, dict):
        return {key: without_chance(item) for key, item in found.items() if key not in CHANCE}
    return [without_chance(item) for item in found] if isinstance(found, list) else found
