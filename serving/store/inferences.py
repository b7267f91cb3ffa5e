"""What was asked and answered, read out of an inference's row."""

import json
from typing import Any

from serving.store.tables import Inference

CHAT_ENDPOINT = "/v1/chat/completions"


def messages_of(inference: Inference) -> list[dict[str, Any]]:
    """Return a chat's turns as the engine got them; empty if it was no chat."""
    request = inference.request if isinstance(inference.request, dict) else {}
    return [turn for turn in request.get("messages") or [] if isinstance(turn, dict)]


def readable_answer(inference: Inference) -> str:
    """Return the first choice for people: its text, else its tool calls as JSON."""
    message = _message(inference)
    if isinstance(message.get("content"), str):
        return str(message["content"])
    calls = message.get("tool_calls")
    return json.dumps(calls, ensure_ascii=False) if calls else ""


def _message(inference: Inference) -> dict[str, Any]:
    """Return the first choice's message. An answer may be any JSON, a text that is none too."""
    response = inference.response if isinstance(inference.response, dict) else {}
    choices = response.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else {}
    message = first.get("message") if isinstance(first, dict) else None
    return message if isinstance(message, dict) else {}
