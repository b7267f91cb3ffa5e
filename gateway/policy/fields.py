"""What a request may ask of an engine: one function that holds a body against an endpoint's table.

Fields in the table go on, within their bounds. Fields that have hurt engines or gateways are
refused by name. All others are accepted, not forwarded, and named in `x-strop-ignored`.

A key may have exceptions, made by an operator: fields of those that others may not send, fields of
the table that it may not, other upper bounds.
"""

import re
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

import msgspec

from gateway.dialects.endpoint import Endpoint, Fields
from gateway.policy.checks import Check, Range, Schema, UnfitError, hold, label, nested, unfit
from gateway.policy.compiled import COMPILED, digest_of_schemas
from gateway.policy.objects import shape
from serving.errors import InvalidRequestError
from serving.routing.catalog import Exceptions

# Each gives the client power over the engine that no client should have, unless its operator says so.
_DANGEROUS = frozenset(
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
        "previous_input_messages",  # turns in an engine's raw form
    }
)
# For nobody.
_NEVER = frozenset(
    {
        "cache_salt",  # the gateway's own: keeps tenants' caches apart
        "request_id",  # the gateway's own: the signed inference id
        "api_base",  # would send the upstream's key elsewhere
        "base_url",
        "api_key",
        "api_version",
        "custom_llm_provider",
    }
)
_REFUSED = _DANGEROUS | _NEVER
_REFUSED_PREFIX = "guided_"  # regular expressions and grammars, under vLLM's older names

# What engines know and hardly anybody needs: it stays behind.
_UNUSUAL = frozenset(
    {
        "add_generation_prompt",
        "add_special_tokens",
        "bad_words",
        "continue_final_message",
        "include_reasoning",
        "length_penalty",
        "logprob_token_ids",
        "prompt_cache_key",
        "prompt_logprobs",
        "return_token_ids",
        "return_tokens_as_token_ids",
        "service_tier",
        "spaces_between_special_tokens",
        "thinking_token_budget",
        "truncate_prompt_tokens",
        "use_beam_search",
        "verbosity",
    }
)
ALLOWABLE: Final = _DANGEROUS | _UNUSUAL
"""Fields that an operator may allow to a key."""

LENGTHS: Final = frozenset({"max_tokens", "max_completion_tokens", "max_output_tokens"})
"""The names of an answer's longest length, in all dialects."""

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MAX_NAMED = 20
_MAX_FIELDS = 256
_MODEL = label(256)
_anything = nested(20_000)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request that may go on: `fields` is all of it that an engine may see."""

    model: str
    fields: dict[str, Any]
    ignored: tuple[str, ...]
    """Names of fields that stayed behind, fit for a header."""
    subject: str | None
    """Whom the request is about."""
    schemas: bytes | None = None
    """Digest of what an engine compiles for it; None, as for most: nothing."""

    @property
    def is_streamed(self) -> bool:
        """Whether the answer is to come as server-sent events."""
        return bool(self.fields.get("stream"))


def authorise(
    endpoint: Endpoint, body: dict[str, Any], exceptions: Exceptions | None = None
) -> Asked:
    """Hold a body against the endpoint's table, or a key's own version of it.

    Raises:
        InvalidRequestError: a field is refused, missing or out of bounds; `param` names it.
    """
    if len(body) > _MAX_FIELDS:
        raise InvalidRequestError(f"A request may have {_MAX_FIELDS} fields.")
    table = endpoint.fields
    if exceptions is not None:
        _refuse_forbidden(body, exceptions)
        table = _table_with(exceptions, table)
    strangers = [name for name in body if name not in table and name != "model"]
    if strangers:
        _refuse_dangerous(strangers)
        _refuse_state(endpoint, body)
    for needed in ("model", *endpoint.required):
        if body.get(needed) is None:
            raise InvalidRequestError(
                f"`{needed}` is required.", param=needed, code="missing_required_parameter"
            )
    fields = _held(body, table)
    return Asked(
        model=hold(body["model"], "model", _MODEL),
        fields=fields,
        ignored=_ignored(strangers, endpoint) if strangers else (),
        subject=endpoint.subject(fields),
        schemas=None if COMPILED.isdisjoint(fields) else _schemas_of(endpoint, fields),
    )


def body_schema(endpoint: Endpoint) -> Schema:
    """Return what `authorise` takes of keys without exceptions, as near as JSON Schema can say."""
    known = shape({"model": _MODEL, **endpoint.fields}, ("model", *endpoint.required))
    declined = {name: {"enum": [None, False]} for name in sorted(endpoint.stateful)}
    return known | {
        "properties": known["properties"] | declined,
        "maxProperties": _MAX_FIELDS,
        "description": "Other fields stay behind, and are named in `x-strop-ignored`. Refused are "
        f"{', '.join(sorted(_REFUSED))} and `{_REFUSED_PREFIX}...`.",
    }


def _schemas_of(endpoint: Endpoint, fields: Fields) -> bytes | None:
    # To count a prompt's tokens nothing is compiled.
    return digest_of_schemas(fields) if endpoint.is_recorded else None


def same_limit(name: str) -> frozenset[str]:
    """Return all names of a field: lengths of answers have one in each dialect."""
    return LENGTHS if name in LENGTHS else frozenset({name})


def hold_within(fields: Fields, endpoint: Endpoint, exceptions: Exceptions) -> None:
    """Lower what a release set to the key's bounds, and bound the answer where nobody does."""
    for name, most in exceptions.most.items():
        for one in same_limit(name) & fields.keys():
            if isinstance(endpoint.fields.get(one), Range):
                fields[one] = min(fields[one], most)
    longest = exceptions.most.get("max_tokens")
    if longest is not None and LENGTHS.isdisjoint(fields):
        name, value = endpoint.as_here("max_tokens", longest)
        if name in endpoint.fields:
            usual = endpoint.usual_answer_tokens
            fields[name] = value if usual is None else min(value, usual)


def _held(body: dict[str, Any], table: Mapping[str, Check]) -> dict[str, Any]:
    fields = {}
    # A body has few of the table's fields.
    for name, value in body.items():
        if value is not None and name in table:
            try:
                fields[name] = table[name](value)
            except UnfitError as fault:
                raise unfit(name, fault) from fault
    return fields


def _ignored(strangers: list[str], endpoint: Endpoint) -> tuple[str, ...]:
    plain = (
        name for name in strangers if _PLAIN_NAME.fullmatch(name) and name not in endpoint.stateful
    )
    return tuple(islice(plain, _MAX_NAMED))


def _table_with(exceptions: Exceptions, usual: Mapping[str, Check]) -> dict[str, Check]:
    table = dict(usual)
    for name in exceptions.allowed & ALLOWABLE:
        table.setdefault(name, _anything)
    for name, most in exceptions.most.items():
        for one in same_limit(name):
            check = table.get(one)
            if isinstance(check, Range):
                table[one] = check.up_to(most)
    return table


def _refuse_forbidden(body: dict[str, Any], exceptions: Exceptions) -> None:
    for name in exceptions.forbidden & body.keys():
        if body[name] is not None and body[name] is not False:
            raise InvalidRequestError(
                f"`{name}` is not served to this key. Leave it out.",
                param=name,
                code="unsupported_parameter",
            )


def _refuse_dangerous(strangers: list[str]) -> None:
    for name in strangers:
        if name in _REFUSED or name.startswith(_REFUSED_PREFIX):
            raise InvalidRequestError(
                f"`{name[:64]}` is not served here. Leave it out.",
                param=name[:64],
                code="unsupported_parameter",
            )


def _refuse_state(endpoint: Endpoint, body: dict[str, Any]) -> None:
    for name in endpoint.stateful & body.keys():
        if body[name] is not None and body[name] is not False:
            raise InvalidRequestError(
                f"`{name}` is not served here: nothing is kept between requests. Leave it out, and "
                "send the whole conversation.",
                param=name,
                code="unsupported_parameter",
            )
