"""Ratings: accepted into the journal on the strength of the signed id, without the database."""

import logging
import time
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Annotated, Any, Final, Literal

import msgspec

from gateway.auth import authenticate
from gateway.http.body import read_json
from gateway.http.exchange import Exchange
from gateway.http.headers import Headers, RawHeaders, lines_of
from gateway.http.reply import Reply, our_fault
from gateway.runtime import Runtime
from serving.errors import InvalidRequestError, StropError
from serving.ids import InferenceId, unknown_inference
from serving.journal.records import Feedback
from serving.routing.catalog import Principal
from serving.store.keys import KEY_ID_PREFIX
from serving.types import Rating

logger = logging.getLogger("strop.gateway")

ANONYMOUS: Final = "anonymous"
_CLOCK_SLACK: Final = timedelta(minutes=5)

Comment = Annotated[str, msgspec.Meta(max_length=4096)]
Answer = Annotated[str, msgspec.Meta(max_length=65_536)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class Given(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client may say of an answer."""

    inference_id: Annotated[str, msgspec.Meta(max_length=128)]
    rating: Rating | None = None
    score: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    comment: Comment | None = None
    demonstration: Answer | None = None
    rater: Name | None = None


class Kept(msgspec.Struct, frozen=True):
    """The answer to a rating."""

    feedback_id: str
    inference_id: str
    status: Literal["accepted"] = "accepted"


async def handle_feedback(runtime: Runtime, exchange: Exchange) -> None:
    """Answer one rating."""
    reply = _reply(runtime, exchange)
    try:
        await reply.send_json(200, await _accept(runtime, exchange))
    except StropError as error:
        await _fail(runtime, reply, error)
    except Exception:
        logger.exception("A request to %s failed", "/v1/feedback")
        await _fail(runtime, reply, our_fault())


async def handle_preflight(runtime: Runtime, exchange: Exchange) -> None:
    """Answer the browser that asks whether it may send a rating."""
    await _reply(runtime, exchange).send_nothing()


def _reply(runtime: Runtime, exchange: Exchange) -> Reply:
    reply = Reply(exchange)
    origins = runtime.settings.gateway.cors_origins
    reply.lines += lines_of(cors_headers(exchange.headers, origins))
    return reply


async def _fail(runtime: Runtime, reply: Reply, error: StropError) -> None:
    runtime.metrics.answered_error(error.code)
    await reply.fail(error)


async def _accept(runtime: Runtime, exchange: Exchange) -> Kept:
    principal = _principal(runtime, exchange.headers)
    if principal is None:
        runtime.feedback_limiter.admit(exchange.address)
    given = read_given(await read_json(exchange, runtime.settings.gateway))
    principal = _principal(runtime, exchange.headers)  # it may have been revoked meanwhile
    rater = rater_of(given, principal)
    inference, tenant = _verify(runtime, given.inference_id, principal)
    feedback_id = feedback_id_of(inference.text, rater)
    runtime.journal.append(
        Feedback(
            id=feedback_id,
            inference_id=inference.text,
            given_at_ms=time.time_ns() // 1_000_000,
            tenant=tenant,
            rater=rater,
            key_id=principal.key_id if principal else None,
            rating=given.rating,
            score=given.score,
            comment=given.comment,
            demonstration=given.demonstration,
        )
    )
    await runtime.journal.flush()
    runtime.metrics.took_feedback(given.rating.value if given.rating else "none")
    return Kept(feedback_id, inference.text)


def read_given(body: dict[str, Any]) -> Given:
    """Return the rating in a body.

    Raises:
        InvalidRequestError: an unknown field, one out of bounds, or no signal at all.
    """
    try:
        given = msgspec.convert(body, Given)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$.")
        raise InvalidRequestError(f"{reason}.", param=path.rstrip("`") or None) from error
    signals = (given.rating, given.score, given.comment, given.demonstration)
    if all(signal is None for signal in signals):
        raise InvalidRequestError("Give a rating, a score, a comment or a demonstration.")
    for name in ("comment", "demonstration", "rater"):
        if "\0" in (getattr(given, name) or ""):
            raise InvalidRequestError(f"`{name}` may hold no NUL characters.", param=name)
    return given


def rater_of(given: Given, principal: Principal | None) -> str:
    """Return who rates: without a key always the same nobody; a key may name one of its users.

    Raises:
        InvalidRequestError: a rater is named without a key, or named like nobody or another key.
    """
    if given.rater is None:
        return principal.key_id if principal else ANONYMOUS
    if principal is None or given.rater == ANONYMOUS:
        raise InvalidRequestError(
            "Only a key may name a rater, and none is called `anonymous`.", param="rater"
        )
    if given.rater.startswith(KEY_ID_PREFIX) and given.rater != principal.key_id:
        raise InvalidRequestError("A key cannot rate as another key.", param="rater")
    return given.rater


def feedback_id_of(inference_id: str, rater: str) -> str:
    """Return the id of one rater's word on one inference: a retry gets the same."""
    return blake2b(f"{inference_id}/{rater}".encode(), digest_size=16).hexdigest()


def cors_headers(headers: Headers, allowed: tuple[str, ...]) -> RawHeaders:
    """Return what lets a page of an allowed origin post ratings. No cookie is ever asked for."""
    origin = headers.get(b"origin")
    if origin is None or ("*" not in allowed and origin.decode("latin-1") not in allowed):
        return []
    return [
        (b"access-control-allow-origin", b"*" if "*" in allowed else origin),
        (b"vary", b"origin"),
        (b"access-control-allow-methods", b"POST"),
        (b"access-control-allow-headers", b"authorization, content-type"),
        (b"access-control-max-age", b"600"),
    ]


def _principal(runtime: Runtime, headers: Headers) -> Principal | None:
    found = headers.get(b"authorization")
    return authenticate(runtime.catalog, found.decode("latin-1")) if found is not None else None


def _verify(runtime: Runtime, text: str, principal: Principal | None) -> tuple[InferenceId, str]:
    """Return the inference and its tenant.

    Raises:
        NotFoundError: not one of ours, another tenant's, too old, purged, or never logged: one answer.
    """
    inference = runtime.signer.verify(text)
    tenant = principal.tenant if principal else runtime.follower.tenant_of(inference.tenant_tag)
    if tenant is None or not inference.belongs_to(tenant) or not inference.is_logged:
        raise unknown_inference()
    age = datetime.now(UTC) - inference.begun_at
    if not -_CLOCK_SLACK <= age <= runtime.settings.max_rating_age:
        raise unknown_inference()
    kept_since = runtime.catalog.kept_since
    if kept_since is not None and inference.begun_at < kept_since:
        raise unknown_inference()
    return inference, tenant
