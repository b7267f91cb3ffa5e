"""What a request may ask of an engine: one function that holds a body against an endpoint's table.

Fields in the table go on, within their bounds. Fields that have hurt engines or gateways are
refused by name. All others are accepted, not forwarded, and named in `x-strop-ignored`.
"""

import re
from dataclasses import dataclass
from itertools import islice
from typing import Any

from gateway.dialects.endpoint import Endpoint
from gateway.policy.checks import hold, label
from serving.errors import InvalidRequestError

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
        "previous_input_messages",  # turns in an engine's raw form
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
    subject: str | None
    """Whom the request is about."""

    @property
    def is_streamed(self) -> bool:
        """Whether the answer is to come as server-sent events."""
        return bool(self.fields.get("stream"))


def authorise(endpoint: Endpoint, body: dict[str, Any]) -> Asked:
    """Hold a body against the endpoint's table.

    Raises:
        InvalidRequestError: a field is refused, missing or out of bounds; `param` names it.
    """
    if len(body) > _MAX_FIELDS:
        raise InvalidRequestError(f"A request may have {_MAX_FIELDS} fields.")
    _refuse_dangerous(body)
    _refuse_state(endpoint, body)
    for needed in ("model", *endpoint.required):
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
    plain = (
        name for name in unknown if _PLAIN_NAME.fullmatch(name) and name not in endpoint.stateful
    )
    return Asked(
        model=hold(body["model"], "model", _MODEL),
        fields=fields,
        ignored=tuple(islice(plain, _MAX_NAMED)),
        subject=endpoint.subject(fields),
    )


def _refuse_dangerous(body: dict[str, Any]) -> None:
    for name in body:
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
