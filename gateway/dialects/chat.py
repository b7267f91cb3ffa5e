"""/v1/chat/completions, and what /v1/completions shares with it: OpenAI's older streams."""

import re
from typing import ClassVar, Final

import msgspec

from gateway.dialects.endpoint import END, ERROR, USAGE_ONLY, Endpoint, Fields, Mark, data_of
from gateway.policy.checks import Check, flag, integer, one_of
from gateway.policy.conversation import conversation, has_system_prompt
from gateway.policy.objects import of_fields
from gateway.policy.sampling import MAX_LOGPROBS, MAX_TOKENS, SAMPLING
from gateway.policy.schemas import response_format, tool_choice, tools

# How nearly every event begins. Such a one is neither [DONE] nor an error.
_USUAL_START: Final = b'data: {"id"'
_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')

COMPLETING: Final[dict[str, Check]] = {
    **SAMPLING,
    "n": integer(1, 8),
    "max_tokens": integer(1, MAX_TOKENS),
    "min_tokens": integer(0, MAX_TOKENS),
    "response_format": response_format,
    "stream_options": of_fields({"include_usage": flag, "continuous_usage_stats": flag}),
}


class OlderEndpoint(Endpoint):
    """Streams that end with [DONE], and say what was used if asked to."""

    def add_own_fields(self, fields: Fields, inference_id: str, *, is_vllm: bool) -> None:
        """Ask for usage in every stream; the client's other options count only if it asked, too."""
        if fields.get("stream"):
            options = fields.get("stream_options", {}) if self.wants_usage(fields) else {}
            fields["stream_options"] = {**options, "include_usage": True}

    def wants_usage(self, fields: Fields) -> bool:
        """Whether the client asked."""
        return bool(fields.get("stream_options", {}).get("include_usage"))

    def mark(self, event: bytes) -> Mark | None:
        """Find [DONE], an engine's error, and the event that has nothing but usage."""
        if not event.startswith(_USUAL_START):
            if b"[DONE]" in event and data_of(event) == b"[DONE]":
                return END
            if event.startswith((b'data: {"error"', b'data:{"error"')):
                return ERROR
        # `in` takes longer: it tries bytes as a number first, which raises an error.
        if event.find(b'"usage"') >= 0 and _NO_CHOICES.search(event) and _is_usage(data_of(event)):
            return USAGE_ONLY
        return None


class _Chat(OlderEndpoint):
    path = "/v1/chat/completions"
    summary = "Answer a conversation, in one piece or streamed."
    required = ("messages",)
    fields: ClassVar[dict[str, Check]] = {
        **COMPLETING,
        "messages": conversation,
        "max_completion_tokens": integer(1, MAX_TOKENS),
        "logprobs": flag,
        "top_logprobs": integer(0, MAX_LOGPROBS),
        "tools": tools,
        "tool_choice": tool_choice,
        "parallel_tool_calls": flag,
        "reasoning_effort": one_of("none", "minimal", "low", "medium", "high", "xhigh", "max"),
    }

    def add_system_prompt(self, fields: Fields, prompt: str) -> None:
        """Put it before the conversation."""
        if not has_system_prompt(fields["messages"]):
            fields["messages"] = [{"role": "system", "content": prompt}, *fields["messages"]]


class _UsageEvent(msgspec.Struct):
    choices: list[msgspec.Raw]
    usage: dict[str, msgspec.Raw] | None = None


def _is_usage(data: bytes) -> bool:
    try:
        found = msgspec.json.decode(data, type=_UsageEvent)
    except ValueError:  # malformed JSON and bad UTF-8 alike: not ours to judge, passed on
        return False
    return not found.choices and found.usage is not None


CHAT: Final = _Chat()
