"""One request at the engines: a proved replica, a second one if the first never answered."""

import asyncio
import logging
import re
from contextlib import closing
from typing import Final

import msgspec
from msgspec.structs import replace

from gateway.http.reply import Reply
from gateway.inference.capture import Capture
from gateway.inference.dispatch import no_engine
from gateway.inference.order import Order
from gateway.inference.place import Place, Wanted
from gateway.inference.reading import read_at_most
from gateway.inference.relay import relay
from gateway.runtime import Runtime
from gateway.upstream.errors import UNREACHABLE, WENT_AWAY
from gateway.upstream.protocol import Deadlines, UpstreamResponse
from serving.errors import ConfigurationError, EngineError, NotFoundError, UnavailableError
from serving.types import Affinity, InferenceStatus

logger = logging.getLogger("strop.gateway")

_MAX_ERROR_BYTES: Final = 64 * 1024
_WORDS_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 2.0
_NO_ROOM: Final = "engine_overloaded"

# Statuses that speak of the gateway's own credentials, address or method: no client can mend them.
_NOT_THE_CLIENTS_FAULT: Final = frozenset({401, 402, 403, 405, 407, 408, 421})
_OVERLOADED: Final = frozenset({429, 503})
_NOT_THERE: Final = frozenset({404, 501})
_MAYBE_ANOTHERS: Final = _OVERLOADED | _NOT_THERE
# The words of FastAPI, and of vLLM around them. A model that is not there gets other ones.
_NO_ROUTE: Final = re.compile(rb'\{\s*"(detail|error)"\s*:[^}]*"Not Found"[^}]*\}\s*\}?\s*')
# Nothing was sent, or the connection ended without a byte in answer: what it may have begun has
# ended with it.
_SAFE_TO_RETRY: Final = frozenset({UNREACHABLE, WENT_AWAY})


async def call_engine(runtime: Runtime, order: Order, capture: Capture, reply: Reply) -> None:
    """Get an answer that may go to the client, and have it passed on; hang up on leaving early.

    A second attempt is made, at another replica, when one cannot be reached, goes away before its
    head, does not know the adapter, or has no room while another one is well. Never with another
    model, never after a byte of the answer, and never after any other failure that a replica
    worded: it would only fail twice as much.

    Raises:
        UnavailableError: no proved replica, none reached, none with room, or they are overloaded.
        EngineTimeoutError: no head in time. Not tried again: it may still be at work.
        EngineError: the engine failed, before its answer's end too, or its answer is not for the
            client.
    """
    ping_seconds = runtime.settings.gateway.ping_seconds
    wanted = _wanted(runtime, order, capture)
    while True:
        with (
            await runtime.dispatcher.take(wanted) as place,
            runtime.meter(wanted.pool, place.replica) as meter,
            capture.trace.call(place.replica),
        ):
            capture.goes_to(place.replica, meter)
            response = await _ask(runtime, order, capture, place)
            if not isinstance(response, _Failure):
                with closing(response):
                    capture.answered(response.status)
                    if not _is_the_clients(response.status):
                        await _refuse(response, capture)
                    await relay(response, order, capture, reply, place, ping_seconds)
                return
        again = replace(wanted, tried=(place.replica,))
        if wanted.tried or (response.is_overload and not runtime.dispatcher.has_another(again)):
            capture.got(response.said)
            raise response.error
        wanted = again


class _Failure(msgspec.Struct, frozen=True, kw_only=True):
    """What a replica did in place of answering. Another one may be asked."""

    error: UnavailableError
    """What the client gets if that is not to be."""
    said: bytes = b""
    """The engine's words for it."""
    is_overload: bool = False
    """Whether it has no room: then one that is out would hardly have any."""


def _wanted(runtime: Runtime, order: Order, capture: Capture) -> Wanted:
    choice = order.choice
    has_affinity = runtime.settings.routing.affinity is Affinity.SESSION
    session = (order.conversation or order.asked.subject) if has_affinity else None
    return Wanted(pool=choice.pool, adapter=choice.adapter, served=capture.served, session=session)


async def _ask(
    runtime: Runtime, order: Order, capture: Capture, place: Place
) -> UpstreamResponse | _Failure:
    """Return the replica's answer, or why another one has to be asked."""
    limits = runtime.settings.gateway
    # What is not streamed begins when all of it is there.
    begins = limits.first_byte_seconds if order.asked.is_streamed else limits.answer_seconds
    deadlines = Deadlines(first_byte=begins, idle=limits.idle_seconds)
    headers = {
        "content-type": "application/json",
        # vLLM makes it the answer's id.
        "x-request-id": order.inference_id,
        **capture.trace.headers,
        **runtime.pool_headers[order.choice.pool],
    }
    try:
        response = await runtime.upstream.open(
            place.replica + order.endpoint.path, headers, order.body, deadlines
        )
    except ConfigurationError as error:
        # The operator's fault, and the operator's business.
        logger.exception("%s cannot be asked", place.replica)
        raise no_engine() from error
    except EngineError as error:
        if error.code == UNREACHABLE:
            runtime.prover.unprove(place.replica)
        if error.code not in _SAFE_TO_RETRY:
            raise
        runtime.metrics.failed(error.code)
        capture.trace.call_failed(error.code)
        place.fail()
        return _Failure(error=no_engine())
    if response.status not in _MAYBE_ANOTHERS:
        return response
    capture.answered(response.status)
    with closing(response):
        if response.status in _NOT_THERE:
            said = await read_at_most(response, _MAX_ERROR_BYTES)
            return _not_there(runtime, order, capture, place, response.status, said)
        said = await _words_of(response)
    runtime.metrics.failed(_NO_ROOM)
    capture.trace.call_failed(_NO_ROOM)
    place.fail()
    return _Failure(error=_overloaded(response), said=said, is_overload=True)


async def _words_of(response: UpstreamResponse) -> bytes:
    """Return what an overloaded replica says, if it can still say it: its status is enough."""
    try:
        async with asyncio.timeout(_WORDS_SECONDS):
            return await read_at_most(response, _MAX_ERROR_BYTES)
    except (EngineError, TimeoutError):
        return b""


def _not_there(
    runtime: Runtime, order: Order, capture: Capture, place: Place, status: int, said: bytes
) -> _Failure:
    """Take note of an adapter that a replica does not have, and return that.

    Raises:
        NotFoundError: it has no such route.
        EngineError: it does not have its base model.
    """
    _refuse_missing_route(order, capture, status, said)
    if order.choice.adapter is None:
        capture.got(said)
        raise EngineError(f"The engine answered with status {status}.")
    runtime.prover.unprove(place.replica, order.choice.adapter)
    runtime.metrics.failed("adapter_missing")
    capture.trace.call_failed("adapter_missing")
    return _Failure(error=no_engine())


def _refuse_missing_route(order: Order, capture: Capture, status: int, said: bytes) -> None:
    """Tell the client of a path that its model's engine does not have.

    Raises:
        NotFoundError: the engine speaks of its routes, not of its models.
    """
    if status != 501 and not _NO_ROUTE.fullmatch(said):
        return
    capture.got(said)
    capture.finish(InferenceStatus.REFUSED, f"the engine has no {order.endpoint.path}")
    raise NotFoundError(
        f"The model {order.asked.model!r} is not served at {order.endpoint.path}.",
        code="endpoint_not_served",
    )


def _is_the_clients(status: int) -> bool:
    """Whether an answer is for the client: success, and what the client did wrong."""
    if status < 400:
        return 200 <= status < 300
    return status < 500 and status not in _NOT_THE_CLIENTS_FAULT


async def _refuse(response: UpstreamResponse, capture: Capture) -> None:
    """Raise what the client gets in place of an answer that is not for it."""
    await read_at_most(response, _MAX_ERROR_BYTES, capture.got)
    raise EngineError(f"The engine answered with status {response.status}.")


def _overloaded(response: UpstreamResponse) -> UnavailableError:
    given = response.headers.get("retry-after", "")
    return UnavailableError(
        "The engine takes no more requests now. Try again in a moment.",
        code=_NO_ROOM,
        retry_after=min(float(given), 60.0) if given.isdigit() else _RETRY_SECONDS,
    )
