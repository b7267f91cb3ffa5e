"""From what a client asked and what was chosen to what the engine is sent."""

from functools import lru_cache
from typing import Any

import msgspec

from gateway.dialects.endpoint import Endpoint
from gateway.http.headers import lines_of
from gateway.policy.fields import LENGTHS, Asked, hold_within, same_limit
from monitoring.metrics import Served
from serving.errors import InvalidRequestError
from serving.ids import Signer
from serving.routing.catalog import Principal, Release
from serving.routing.choose import Choice
from serving.sections import PoolSettings
from serving.types import Arm, PoolKind

BYTES_PER_TOKEN = 4
"""About: for what no engine has counted."""
_USUAL_ANSWER_TOKENS = 512
_ID_LINES = b"x-strop-inference-id: %b\r\nx-request-id: %b\r\n"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One decided request: what to send, and all that the record says of it."""

    inference_id: str
    endpoint: Endpoint
    principal: Principal
    asked: Asked
    choice: Choice
    body: bytes
    """JSON, as the engine gets it."""
    conversation: str | None
    is_logged: bool
    """Whether the journal gets it, and ratings of it are taken."""
    num_prompt_tokens: int
    """Estimated: 4 bytes of the body are about a token."""
    num_answer_tokens: int
    """The most that it may have; an estimate where neither client nor release says so."""

    @property
    def num_tokens(self) -> int:
        """What it will probably use."""
        return self.num_prompt_tokens + self.num_answer_tokens

    @property
    def served(self) -> Served:
        """The labels of this request's metrics."""
        alias, release = self.choice.alias, self.choice.release
        if alias is None or release is None:
            return _served("-", self.asked.model, "-", self.choice.arm)
        return _served(alias.tenant, alias.name, release.number, self.choice.arm)

    @property
    def drops_usage(self) -> bool:
        """Whether only the gateway asked for the stream's usage event."""
        return not self.endpoint.wants_usage(self.asked.fields)

    @property
    def reply_lines(self) -> bytes:
        """The headers by which every answer to this request says what it is, an error too."""
        inference_id, release = self.inference_id.encode(), self.choice.release
        adapter = self.choice.adapter or "base"
        lines = _ID_LINES % (inference_id, inference_id)
        lines += _release_lines(release.number if release else "none", adapter)
        if self.asked.ignored:
            lines += lines_of([(b"x-strop-ignored", ", ".join(self.asked.ignored).encode())])
        return lines


def make_order(
    *,
    signer: Signer,
    pool: PoolSettings,
    endpoint: Endpoint,
    principal: Principal,
    asked: Asked,
    choice: Choice,
    conversation: str | None,
) -> Order:
    """Decide what the engine is sent: the release applied, the model by the engine's own name.

    Raises:
        InvalidRequestError: the body cannot be written as JSON again.
    """
    fields = apply_release(asked.fields, choice.release, endpoint)
    if principal.exceptions is not None:
        hold_within(fields, endpoint, principal.exceptions)
    fields["model"] = choice.adapter or base_name(pool)
    is_logged = principal.is_logged and endpoint.is_recorded
    inference_id = signer.mint(principal.tenant, is_logged=is_logged)
    is_vllm = pool.kind is PoolKind.VLLM
    endpoint.add_own_fields(fields, inference_id, is_vllm=is_vllm)
    if is_vllm:
        fields["cache_salt"] = signer.cache_salt(principal.tenant)
    body = _encode(fields)
    return Order(
        inference_id=inference_id,
        endpoint=endpoint,
        principal=principal,
        asked=asked,
        choice=choice,
        body=body,
        conversation=conversation,
        is_logged=is_logged,
        num_prompt_tokens=len(body) // BYTES_PER_TOKEN,
        num_answer_tokens=_longest_answer(fields, endpoint),
    )


def base_name(pool: PoolSettings) -> str:
    """Return the name by which a pool's engines know their base model."""
    return pool.base_model if pool.kind is PoolKind.OPENAI else pool.served_name


def apply_release(
    fields: dict[str, Any], release: Release | None, endpoint: Endpoint
) -> dict[str, Any]:
    """Return the fields with the release's system prompt and decoding where the client has none."""
    applied = dict(fields)
    if release is None:
        return applied
    if release.system_prompt:
        endpoint.add_system_prompt(applied, release.system_prompt)
    for default in release.decoding.items():
        name, value = endpoint.as_here(*default)
        if name in endpoint.fields and same_limit(name).isdisjoint(fields):
            applied[name] = value
    return applied


@lru_cache(maxsize=1024)
def _served(tenant: str, alias: str, release: int | str, arm: Arm) -> Served:
    return Served(tenant=tenant, alias=alias, release=str(release), arm=arm.value)


@lru_cache(maxsize=1024)
def _release_lines(release: int | str, adapter: str) -> bytes:
    return lines_of(
        [(b"x-strop-release", str(release).encode()), (b"x-strop-adapter", adapter.encode())]
    )


def _longest_answer(fields: dict[str, Any], endpoint: Endpoint) -> int:
    limits = [fields[name] for name in LENGTHS if name in fields]
    if limits:
        longest = max(limits)  # which of several an engine goes by, it knows
    else:
        usual = endpoint.usual_answer_tokens
        longest = _USUAL_ANSWER_TOKENS if usual is None else usual
    return int(fields.get("n", 1) * _num_prompts(fields.get("prompt")) * longest)


def _num_prompts(prompt: Any) -> int:
    """Return how many prompts are answered: a list may be one of token ids, or of several prompts."""
    is_several = isinstance(prompt, list) and prompt and not isinstance(prompt[0], int)
    return len(prompt) if is_several else 1


def _encode(fields: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(fields)
    except (OverflowError, RecursionError) as error:
        raise InvalidRequestError(
            f"The body cannot be sent on: {error}.", code="invalid_json"
        ) from error
