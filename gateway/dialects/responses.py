"""/v1/responses, OpenAI's newer dialect, without its state: whole conversations, nothing kept."""

from typing import Any, ClassVar, Final

import msgspec

from gateway.dialects.endpoint import (
    END_WITH_USAGE,
    FAILED_END,
    NO_TOKEN,
    Endpoint,
    Fields,
    Mark,
    name_of,
)
from gateway.policy.checks import Check, any_text, array, flag, integer, one_of
from gateway.policy.conversation import has_system_prompt
from gateway.policy.items import input_items, metadata, reasoning, text_format, tool, tool_choice
from gateway.policy.sampling import MAX_LOGPROBS, MAX_TOKENS, SAMPLING
from gateway.policy.schemas import tools_of
from serving.errors import StropError


class _Responses(Endpoint):
    path = "/v1/responses"
    summary = "Answer a conversation in OpenAI's newer form; nothing is kept for a next request."
    required = ("input",)
    stateful = frozenset({"previous_response_id", "conversation", "store", "background", "prompt"})
    last_event = "response.completed"
    fields: ClassVar[dict[str, Check]] = {
        **SAMPLING,
        "input": input_items,
        "instructions": any_text,
        "max_output_tokens": integer(1, MAX_TOKENS),
        "max_tool_calls": integer(1, 128),
        "tools": tools_of(tool),
        "tool_choice": tool_choice,
        "parallel_tool_calls": flag,
        "text": text_format,
        "reasoning": reasoning,
        "include_reasoning": flag,
        "include": array(8, one_of("message.output_text.logprobs", "reasoning.encrypted_content")),
        "top_logprobs": integer(0, MAX_LOGPROBS),
        "truncation": one_of("auto", "disabled"),
        "metadata": metadata,
    }

    def add_system_prompt(self, fields: Fields, prompt: str) -> None:
        """Put it before the input. `instructions` would come back to the client in the answer."""
        given = fields["input"]
        items = [{"role": "user", "content": given}] if isinstance(given, str) else given
        if "instructions" not in fields and not has_system_prompt(items):
            fields["input"] = [{"role": "system", "content": prompt}, *items]

    def as_here(self, name: str, value: Any) -> tuple[str, Any]:
        """Return a chat's default as it is said here."""
        is_limit = name in ("max_tokens", "max_completion_tokens")
        return ("max_output_tokens" if is_limit else name), value

    def add_own_fields(self, fields: Fields, inference_id: str, *, is_vllm: bool) -> None:
        """Have nothing kept, and the answer named by our id: vLLM takes it from the body here."""
        fields["store"] = False
        if is_vllm:
            fields["request_id"] = f"resp_{inference_id}"

    def mark(self, event: bytes) -> Mark | None:
        """Tell events apart by their names."""
        return _MARKS.get(name_of(event))

    def error_event(self, error: StropError) -> bytes:
        """Return OpenAI's `error` event; with `error` inside, its clients raise it."""
        said = error.to_body()["error"]
        words = {name: said[name] for name in ("code", "message", "param")}
        body = msgspec.json.encode({"type": "error", **words, "error": said})
        return b"event: error\ndata: %b\n\n" % body


_MARKS: dict[bytes, Mark] = {
    b"response.created": NO_TOKEN,
    b"response.in_progress": NO_TOKEN,
    b"response.completed": END_WITH_USAGE,
    b"response.incomplete": END_WITH_USAGE,
    b"response.failed": FAILED_END,
    b"error": FAILED_END,
}

RESPONSES: Final = _Responses()
