"""Anthropic's dialect: /v1/messages, its fields, key header, events and errors; what stands beside it."""

from typing import Any, ClassVar, Final, Literal

import msgspec

from gateway.dialects.endpoint import END, FAILED_END, USAGE, Endpoint, Fields, Mark, name_of
from gateway.policy.blocks import (
    messages,
    metadata,
    output_config,
    system,
    thinking,
    tool,
    tool_choice,
)
from gateway.policy.checks import Check, array, flag, integer, number, text
from gateway.policy.conversation import has_system_prompt
from gateway.policy.sampling import MAX_STOP_LENGTH, MAX_STOPS, MAX_TOKENS
from gateway.policy.schemas import tools_of
from serving.errors import StropError


class AnthropicErrorWords(msgspec.Struct):
    """What went wrong."""

    type: str
    message: str


class AnthropicErrorBody(msgspec.Struct):
    """How errors look to Anthropic's clients."""

    type: Literal["error"]
    error: AnthropicErrorWords


class _Messages(Endpoint):
    path = "/v1/messages"
    summary = "Answer a conversation in Anthropic's form, in one piece or streamed."
    required: ClassVar[tuple[str, ...]] = ("messages", "max_tokens")
    stateful = frozenset({"container", "mcp_servers"})
    key_header = b"x-api-key"
    last_event = "message_stop"
    error_form = AnthropicErrorBody
    fields: ClassVar[dict[str, Check]] = {
        "messages": messages,
        "system": system,
        "max_tokens": integer(1, MAX_TOKENS),
        "stop_sequences": array(MAX_STOPS, text(MAX_STOP_LENGTH)),
        "temperature": number(0, 2),
        "top_p": number(0, 1),
        "top_k": integer(-1, MAX_TOKENS),
        "stream": flag,
        "tools": tools_of(tool),
        "tool_choice": tool_choice,
        "thinking": thinking,
        "output_config": output_config,
        "metadata": metadata,
    }

    def subject(self, fields: Fields) -> str | None:
        """Return `metadata.user_id`."""
        user: str | None = fields.get("metadata", {}).get("user_id")
        return user

    def add_system_prompt(self, fields: Fields, prompt: str) -> None:
        """Set `system`."""
        if not fields.get("system") and not has_system_prompt(fields["messages"]):
            fields["system"] = prompt

    def as_here(self, name: str, value: Any) -> tuple[str, Any]:
        """Return a chat's default as it is said here. Lengths every request says itself."""
        if name == "stop":
            return "stop_sequences", [value] if isinstance(value, str) else value
        return name, value

    def mark(self, event: bytes) -> Mark | None:
        """Tell events apart by their names."""
        return _MARKS.get(name_of(event))

    def error_body(self, error: StropError) -> Any:
        """Return Anthropic's form of an error."""
        return anthropic_error(error.status, error.message)

    def error_event(self, error: StropError) -> bytes:
        """Return Anthropic's `error` event."""
        return b"event: error\ndata: %b\n\n" % msgspec.json.encode(self.error_body(error))

    def refusal(self, status: int, body: bytes) -> bytes:
        """Say it in Anthropic's form: vLLM does so at times, with types that Anthropic has not."""
        try:
            message = msgspec.json.decode(body, type=_Refusal).error.message
        except (ValueError, RecursionError):
            message = "The engine refused the request."
        return msgspec.json.encode(anthropic_error(status, message))


class _CountTokens(_Messages):
    path = "/v1/messages/count_tokens"
    summary = "Say how many tokens a conversation has, as it would be sent with the model's prompt."
    required = ("messages",)
    is_recorded = False
    usual_answer_tokens = 0
    fields: ClassVar[dict[str, Check]] = {
        name: _Messages.fields[name]
        for name in ("messages", "system", "tools", "tool_choice", "thinking", "output_config")
    }


class _Words(msgspec.Struct):
    message: str


class _Refusal(msgspec.Struct):
    error: _Words


def anthropic_error(status: int, message: str) -> dict[str, Any]:
    """Return an error's body as Anthropic's clients know it."""
    kind = _ERROR_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": message}}


def anthropic_model(name: str) -> dict[str, Any]:
    """Return a name that a key may use as Anthropic's clients know models."""
    return {
        "type": "model",
        "created_at": "1970-01-01T00:00:00Z",
        "lifecycle": "active",
        "id": name,
        "display_name": name,
    }


def anthropic_models(names: list[str]) -> dict[str, Any]:
    """Return the names that a key may use as Anthropic's clients list them: in one page."""
    return {
        "data": [anthropic_model(name) for name in names],
        "has_more": False,
        "first_id": names[0] if names else None,
        "last_id": names[-1] if names else None,
    }


_ERROR_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
_MARKS: Final = {
    b"message_delta": USAGE,
    b"message_stop": END,
    b"error": FAILED_END,
}

MESSAGES: Final = _Messages()
COUNT_TOKENS: Final = _CountTokens()
