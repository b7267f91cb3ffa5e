"""What a request may ask of an engine: one table, and one function that holds a body against it.

Fields in the table go on, within their bounds. Fields that have hurt engines or gateways are
refused by name. All others are accepted, not forwarded, and named in `x-strop-ignored`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from gateway.policy.checks import (
    Check,
    UnfitError,
    array,
    at,
    flag,
    hold,
    integer,
    integers,
    label,
    number,
    one_of,
    pick,
    record,
    text,
    text_or_texts,
)
from gateway.policy.messages import messages
from gateway.policy.schemas import response_format, structured_outputs, tool_choice, tools
from serving.errors import InvalidRequestError

_MAX_TOKENS = 2**20
_MAX_TOKEN_ID = 2**31
_MAX_PROMPTS = 64
_ANY_LENGTH = text(2**31)


def _stream_options(value: Any) -> Any:
    return pick(value, {"include_usage": flag, "continuous_usage_stats": flag})


def _logit_bias(value: Any) -> Any:
    if len(record(value)) > 300:
        raise UnfitError("an object of at most 300 tokens")
    in_range = number(-100, 100)
    for token, bias in value.items():
        if not token.isascii() or not token.isdigit() or len(token) > 10:
            raise UnfitError("an object whose keys are token ids")
        at(f".{token}", bias, in_range)
    return value


def _prompt(value: Any) -> Any:
    """Take a text, token ids, or several of either."""
    if isinstance(value, list) and value and isinstance(value[0], str | list):
        return _prompts(value)
    return _text_or_tokens(value)


def _text_or_tokens(value: Any) -> Any:
    return value if isinstance(value, str) else _tokens(value)


_tokens = integers(_MAX_TOKENS, 0, _MAX_TOKEN_ID, min_items=1)
_prompts = array(_MAX_PROMPTS, _text_or_tokens, min_items=1)

_SAMPLING: dict[str, Check] = {
    "temperature": number(0, 2),
    "top_p": number(0, 1),
    "top_k": integer(-1, _MAX_TOKENS),
    "min_p": number(0, 1),
    "presence_penalty": number(-2, 2),
    "frequency_penalty": number(-2, 2),
    "repetition_penalty": number(0.01, 10),
    "seed": integer(-(2**63), 2**63 - 1),
    "n": integer(1, 8),
    "max_tokens": integer(1, _MAX_TOKENS),
    "min_tokens": integer(0, _MAX_TOKENS),
    "stop": text_or_texts(4, 256),
    "stop_token_ids": integers(64, 0, _MAX_TOKEN_ID),
    "logit_bias": _logit_bias,
    "ignore_eos": flag,
    "skip_special_tokens": flag,
    "include_stop_str_in_output": flag,
    "response_format": response_format,
    "structured_outputs": structured_outputs,
    "stream": flag,
    "stream_options": _stream_options,
    "user": label(512),
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One of the engine's generating routes, as the gateway offers it."""

    path: str
    fields: Mapping[str, Check]
    required: str
    """The field that carries the prompt."""


CHAT = Endpoint(
    "/v1/chat/completions",
    {
        **_SAMPLING,
        "messages": messages,
        "max_completion_tokens": integer(1, _MAX_TOKENS),
        "logprobs": flag,
        "top_logprobs": integer(0, 20),
        "tools": tools,
        "tool_choice": tool_choice,
        "parallel_tool_calls": flag,
        "reasoning_effort": one_of("none", "minimal", "low", "medium", "high", "xhigh"),
    },
    required="messages",
)

COMPLETIONS = Endpoint(
    "/v1/completions",
    {
        **_SAMPLING,
        "prompt": _prompt,
        "suffix": _ANY_LENGTH,
        "echo": flag,
        "logprobs": integer(0, 20),
    },
    required="prompt",
)

# Each gives the client power over the engine that no client should have.
_REFUSED = frozenset(
    {
        "chat_template",  # runs as a program in the engine's only renderer
        "chat_template_kwargs",
        "documents",
        "media_io_kwargs",  # unbounded work in media decoders
        "mm_processor_kwargs",
        "priority",  # jumps the queue of other tenants
        "vllm_xargs",
        "kv_transfer_params",
        "allowed_token_ids",  # has corrupted concurrent requests
        "logits_processors",
        "prompt_embeds",  # tensors, deserialised
        "cache_salt",  # the gateway's own: keeps tenants' caches apart
        "request_id",  # the gateway's own: the signed inference id
        "api_base",  # would send the upstream's key elsewhere
        "base_url",
        "api_key",
        "api_version",
        "custom_llm_provider",
    }
)
_REFUSED_PREFIX = "guided_"  # regular expressions and grammars, under vLLM's older names

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MAX_NAMED = 20
_MAX_FIELDS = 256
_MODEL = label(256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request that may go on: `fields` is all of it that an engine may see."""

    model: str
    fields: dict[str, Any]
    ignored: tuple[str, ...]
    """Names of fields that stayed behind, fit for a header."""

    @property
    def is_streamed(self) -> bool:
        """Whether the answer is to come as server-sent events."""
        return bool(self.fields.get("stream"))

    @property
    def wants_usage(self) -> bool:
        """Whether the client wants the usage event of a stream."""
        return bool(self.fields.get("stream_options", {}).get("include_usage"))

    @property
    def subject(self) -> str | None:
        """Whom the request is about: the `user` field."""
        return self.fields.get("user")


def authorise(endpoint: Endpoint, body: dict[str, Any]) -> Asked:
    """Hold a body against the endpoint's table.

    Raises:
        InvalidRequestError: a field is refused, missing or out of bounds; `param` names it.
    """
    if len(body) > _MAX_FIELDS:
        raise InvalidRequestError(f"A request may have {_MAX_FIELDS} fields.")
    _refuse_dangerous(body)
    for needed in ("model", endpoint.required):
        if body.get(needed) is None:
            raise InvalidRequestError(
                f"`{needed}` is required.", param=needed, code="missing_required_parameter"
            )
    fields = {
        name: hold(body[name], name, check)
        for name, check in endpoint.fields.items()
        if body.get(name) is not None
    }
    unknown = (name for name in body if name not in endpoint.fields and name != "model")
    plain = (name for name in unknown if _PLAIN_NAME.fullmatch(name))
    return Asked(
        model=hold(body["model"], "model", _MODEL),
        fields=fields,
        ignored=tuple(islice(plain, _MAX_NAMED)),
    )


def _refuse_dangerous(body: dict[str, Any]) -> None:
    for name in body:
        if name in _REFUSED or name.startswith(_REFUSED_PREFIX):
            raise InvalidRequestError(
                f"`{name[:64]}` is not served here. Leave it out.",
                param=name[:64],
                code="unsupported_parameter",
            )
