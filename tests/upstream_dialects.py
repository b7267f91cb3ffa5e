"""/v1/responses, /v1/messages and /v1/embeddings as vLLM answers them: plain, and as events.

The shapes are those of vLLM 0.32's serializers; `tests/contracts/data` has streams that they wrote.
"""

import json
from typing import Any

Fields = dict[str, Any]

RESPONSE_USAGE = {
    "input_tokens": 7,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 3,
    "output_tokens_details": {"reasoning_tokens": 0, "tool_output_tokens": 0},
    "total_tokens": 10,
}
MESSAGE_USAGE = {"input_tokens": 7, "output_tokens": 3}


def plain_answer(path: str, request: Fields, words: list[str], request_id: str) -> Fields | None:
    """Return the answer in one piece at one of these paths; None at another."""
    match path:
        case "/v1/responses":
            return response(request, words)
        case "/v1/messages":
            return message(request, words, request_id)
        case "/v1/messages/count_tokens":
            return counted()
        case "/v1/embeddings":
            return embeddings(request, request_id)
    return None


def response(request: Fields, words: list[str] | None, status: str = "completed") -> Fields:
    """Return a response; None for words: not begun. It repeats what was asked, as vLLM does."""
    text = {"type": "output_text", "text": "".join(words or ()), "annotations": []}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}
    return {
        "id": request.get("request_id", "resp_unnamed"),
        "created_at": 1,
        "instructions": request.get("instructions"),
        "model": request.get("model"),
        "object": "response",
        "output": [] if words is None else [{**item, "content": [text]}],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "none",
        "tools": request.get("tools", []),
        "top_p": 1.0,
        "background": False,
        "max_output_tokens": 64,
        "status": status,
        "usage": None if words is None else RESPONSE_USAGE,
    }


def response_events(request: Fields, words: list[str]) -> list[bytes]:
    """Return the events of a streamed response."""
    started = response(request, None, "in_progress")
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    whole = response(request, words)
    (item,) = whole["output"]
    (part,) = item["content"]
    events = [
        ("response.created", {"response": started}),
        ("response.in_progress", {"response": started}),
        (
            "response.output_item.added",
            {"output_index": 0, "item": {**item, "content": [], "status": "in_progress"}},
        ),
        ("response.content_part.added", {**place, "part": {**part, "text": ""}}),
        *[
            ("response.output_text.delta", {**place, "delta": word, "logprobs": []})
            for word in words
        ],
        ("response.output_text.done", {**place, "text": part["text"], "logprobs": []}),
        ("response.content_part.done", {**place, "part": part}),
        ("response.output_item.done", {"output_index": 0, "item": item}),
        ("response.completed", {"response": whole}),
    ]
    return [
        _event(kind, {**fields, "sequence_number": number, "type": kind})
        for number, (kind, fields) in enumerate(events)
    ]


def message(request: Fields, words: list[str], request_id: str) -> Fields:
    """Return a message. Its id is a chat's, as the engine answers it as one."""
    return {
        "id": f"chatcmpl-{request_id}",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": "".join(words)}],
        "model": request.get("model"),
        "stop_reason": "end_turn",
        "usage": MESSAGE_USAGE,
    }


def counted() -> Fields:
    """Return what a conversation's tokens come to."""
    tokens = MESSAGE_USAGE["input_tokens"]
    return {"input_tokens": tokens, "context_management": {"original_input_tokens": tokens}}


def message_events(request: Fields, words: list[str], request_id: str) -> list[bytes]:
    """Return the events of a streamed message."""
    started = message(request, [], request_id) | {
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 7, "output_tokens": 0},
    }
    stopped = {"stop_reason": "end_turn", "stop_sequence": None}
    bodies: list[Fields] = [
        {"type": "message_start", "message": started},
        {
            "type": "content_block_start",
            "content_block": {"type": "text", "text": ""},
            "index": 0,
        },
        *[
            {
                "type": "content_block_delta",
                "delta": {"type": "text_delta", "text": word},
                "index": 0,
            }
            for word in words
        ],
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": stopped, "usage": MESSAGE_USAGE},
        {"type": "message_stop"},
    ]
    return [_event(body["type"], body) for body in bodies]


def embeddings(request: Fields, request_id: str) -> Fields:
    """Return one vector for each text."""
    given = request["input"]
    texts = given if isinstance(given, list) and not isinstance(given[0], int) else [given]
    vectors = [
        {"index": number, "object": "embedding", "embedding": [0.5, -0.25]}
        for number in range(len(texts))
    ]
    return {
        "id": f"embd-{request_id}",
        "object": "list",
        "created": 1,
        "model": request.get("model"),
        "data": vectors,
        "usage": {"prompt_tokens": 7, "total_tokens": 7, "completion_tokens": 0},
    }


def _event(kind: str, body: Fields) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(body, separators=(',', ':'))}\n\n".encode()
