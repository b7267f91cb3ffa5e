"""What was asked and answered, read out of an inference's row: a chat, whatever its dialect was."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from serving.dialects import chat, messages, responses
from serving.store.tables import Inference


@dataclass(frozen=True, slots=True)
class _Dialect:
    request_as_chat: Callable[[dict[str, Any]], dict[str, Any]]
    choice_of: Callable[[dict[str, Any]], dict[str, Any]]


_DIALECTS: Final[Mapping[str, _Dialect]] = MappingProxyType(
    {
        "/v1/chat/completions": _Dialect(chat.request_as_chat, chat.choice_of),
        "/v1/responses": _Dialect(responses.request_as_chat, responses.choice_of),
        "/v1/messages": _Dialect(messages.request_as_chat, messages.choice_of),
    }
)


def is_conversation(inference: Inference) -> bool:
    """Whether it was a request of turns: not a completion's text, not one for embeddings."""
    return inference.endpoint in _DIALECTS


def messages_of(inference: Inference) -> list[dict[str, Any]]:
    """Return the turns as the engine got them, in a chat's shape; empty if it was none."""
    turns = _chat_of(inference).get("messages")
    return [turn for turn in turns or [] if isinstance(turn, dict)]


def tools_of(inference: Inference) -> list[dict[str, Any]]:
    """Return the tools that the engine got, in a chat's shape."""
    tools = _chat_of(inference).get("tools")
    return tools if isinstance(tools, list) else []


def choice_of(inference: Inference) -> dict[str, Any]:
    """Return the first answer as a chat's choice: `message` and `finish_reason`, where it has them.

    An answer may be any JSON, a text that is none too.
    """
    dialect, answer = _DIALECTS.get(inference.endpoint), inference.response
    return dialect.choice_of(answer) if dialect and isinstance(answer, dict) else {}


def readable_answer(inference: Inference) -> str:
    """Return the first answer for people: its text, else its tool calls as JSON."""
    message = choice_of(inference).get("message")
    if not isinstance(message, dict):
        return ""
    if isinstance(message.get("content"), str):
        return str(message["content"])
    calls = message.get("tool_calls")
    return json.dumps(calls, ensure_ascii=False) if calls else ""


def _chat_of(inference: Inference) -> dict[str, Any]:
    dialect, request = _DIALECTS.get(inference.endpoint), inference.request
    return dialect.request_as_chat(request) if dialect and isinstance(request, dict) else {}
