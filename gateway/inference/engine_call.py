"""One request at the engines: a proved replica, a second one if the first never answered."""

import logging
import re
from contextlib import closing
from typing import Final

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
_RETRY_SECONDS: Final = 2.0

# Statuses that speak of the gateway's own credentials, address or method: no client can mend them.
_NOT_THE_CLIENTS_FAULT: Final = frozenset({401, 402, 403, 405, 407, 408, 421})
_OVERLOADED: Final = frozenset({429, 503})
_NOT_THERE: Final = frozenset({404, 501})
# The words of FastAPI, and of vLLM around them. A model that is not there gets other ones.
_NO_ROUTE: Final = re.compile(rb'\{\s*"(detail|error)"\s*:[^}]*"Not Found"[^}]*\}\s*\}?\s*')
# Nothing was sent, or the connection ended without a byte in answer: what it may have begun has
# ended with it.
_SAFE_TO_RETRY: Final = frozenset({UNREACHABLE, WENT_AWAY})


async def call_engine(runtime: Runtime, order: Order, capture: Capture, reply: Reply) -> None:
    """Get an answer that may go to the client, and have it passed on; hang up on leaving early.

    A second attempt is made, at another replica, when one cannot be reached, goes away before its
    head, or does not know the adapter. Never with another model, never after a byte of the answer,
    and never after a failure that a replica worded: it would only fail twice as much.

    Raises:
        UnavailableError: no proved replica, none reached, none with room, or it is overloaded.
        EngineTimeoutError: no head in time. Not tried again: it may still be at work.
        EngineError: the engine failed, before its answer's end too, or its answer is not for the
            client.
    """
    ping_seconds = runtime.settings.gateway.ping_seconds
    wanted = _wanted(runtime, order, capture)
    while True:
        with (
            await runtime.dispatcher.take(wanted) as place,
            runtime.meter(wanted.pool, place.replica) as capture.meter,
            capture.trace.call(place.replica),
        ):
            capture.replica = place.replica
            response = await _ask(runtime, order, capture, place)
            if response is not None:
                with closing(response):
                    capture.answered(response.status)
                    if not _is_the_clients(response.status):
                        await _refuse(response, capture)
                    await relay(response, order, capture, reply, ping_seconds)
                return
        if wanted.tried:
            raise no_engine()
        wanted = replace(wanted, tried=(place.replica,))


def _wanted(runtime: Runtime, order: Order, capture: Capture) -> Wanted:
    choice = order.choice
    has_affinity = runtime.settings.routing.affinity is Affinity.SESSION
    session = (order.conversation or order.asked.subject) if has_affinity else None
    return Wanted(pool=choice.pool, adapter=choice.adapter, served=capture.served, session=session)


async def _ask(
    runtime: Runtime, order: Order, capture: Capture, place: Place
) -> UpstreamResponse | None:
    """Return the replica's answer, None if another one has to be asked."""
    limits = runtime.settings.gateway
    deadlines = Deadlines(first_byte=limits.first_byte_seconds, idle=limits.idle_seconds)
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
        return None
    if response.status not in _NOT_THERE:
        return response
    with closing(response):
        said = await read_at_most(response, _MAX_ERROR_BYTES)
    capture.answered(response.status)
    _refuse_missing_route(order, capture, response.status, said)
    if order.choice.adapter is None:
        capture.got(said)
        raise EngineError(f"The engine answered with status {response.status}.")
    runtime.prover.unprove(place.replica, order.choice.adapter)
    runtime.metrics.failed("adapter_missing")
    capture.trace.call_failed("adapter_missing")
    return None


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
    return status < 500 and status not in _NOT_THE_CLIENTS_FAULT and status not in _OVERLOADED


async def _refuse(response: UpstreamResponse, capture: Capture) -> None:
    """Raise what the client gets in place of an answer that is not for it."""
    await read_at_most(response, _MAX_ERROR_BYTES, capture.got)
    status = response.status
    if status in _OVERLOADED:
        raise UnavailableError(
            "The engine takes no more requests now. Try again in a moment.",
            code="engine_overloaded",
            retry_after=_retry_after(response),
        )
    raise EngineError(f"The engine answered with status {status}.")


def _retry_after(response: UpstreamResponse) -> float:
    given = response.headers.get("retry-after", "")
    return min(float(given), 60.0) if given.isdigit() else _RETRY_SECONDS
