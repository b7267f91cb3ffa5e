"""One request at the engines: a proved replica, a second one if the first never answered."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Final

from gateway.inference.capture import Capture
from gateway.inference.order import Order
from gateway.runtime import Runtime
from gateway.upstream.errors import UNREACHABLE
from gateway.upstream.protocol import Deadlines, UpstreamResponse
from serving.errors import EngineError, EngineTimeoutError, UnavailableError

_MAX_ATTEMPTS: Final = 2
_MAX_ERROR_BYTES: Final = 64 * 1024
_RETRY_SECONDS: Final = 2.0

# Statuses that speak of the gateway's own credentials, address or method: no client can mend them.
_NOT_THE_CLIENTS_FAULT: Final = frozenset({401, 402, 403, 405, 407, 408, 421})
_OVERLOADED: Final = frozenset({429, 503})


@asynccontextmanager
async def engine_answer(
    runtime: Runtime, order: Order, capture: Capture
) -> AsyncIterator[UpstreamResponse]:
    """Yield an answer that may go to the client, its body unread; hang up on leaving early.

    A second attempt is made, elsewhere if there is an elsewhere, when a replica cannot be reached,
    goes away before its head, or does not know the adapter. Never with another model, and never
    after a byte of the answer.

    Raises:
        UnavailableError: no proved replica, none reached, or the engine is overloaded.
        EngineTimeoutError: no head in time. Not tried again: it may still be at work.
        EngineError: the engine failed, or its answer is not for the client.
    """
    tried: list[str] = []
    while True:
        replica = _pick_replica(runtime, order, tried)
        capture.replica = replica
        with runtime.traffic.at(replica):
            response = await _ask(runtime, order, replica)
            if response is not None:
                with closing(response):
                    capture.http_status = response.status
                    await _refuse_bad_status(response, capture)
                    yield response
                return
        tried.append(replica)


def _pick_replica(runtime: Runtime, order: Order, tried: list[str]) -> str:
    choice = order.choice
    proved = runtime.prover.replicas_for(choice.pool, choice.adapter)
    # One that went away may be asked again: its connection was closed for idleness just then.
    replica = runtime.traffic.least_busy([url for url in proved if url not in tried] or proved)
    if replica is None or len(tried) == _MAX_ATTEMPTS:
        raise UnavailableError(
            f"No engine can answer for {order.asked.model!r} now. Try again in a moment.",
            code="no_engine",
            retry_after=_RETRY_SECONDS,
        )
    return replica


async def _ask(runtime: Runtime, order: Order, replica: str) -> UpstreamResponse | None:
    """Return the replica's answer, None if another one has to be asked."""
    limits = runtime.settings.gateway
    deadlines = Deadlines(first_byte=limits.first_byte_seconds, idle=limits.idle_seconds)
    headers = {
        "content-type": "application/json",
        # vLLM makes it the answer's id.
        "x-request-id": order.inference_id,
        **runtime.pool_headers[order.choice.pool],
    }
    try:
        response = await runtime.upstream.open(
            replica + order.endpoint.path, headers, order.body, deadlines
        )
    except EngineTimeoutError:
        raise
    except EngineError as error:
        if error.code == UNREACHABLE:
            runtime.prover.unprove(replica)
        runtime.metrics.failed(error.code)
        return None
    if response.status == 404 and order.choice.adapter is not None:
        response.close()
        runtime.prover.unprove(replica, order.choice.adapter)
        runtime.metrics.failed("adapter_missing")
        return None
    return response


async def _refuse_bad_status(response: UpstreamResponse, capture: Capture) -> None:
    """Let pass what answers the client: success, and what the client did wrong."""
    status = response.status
    if 200 <= status < 300:
        return
    is_clients_fault = 400 <= status < 500 and status not in _NOT_THE_CLIENTS_FAULT
    if is_clients_fault and status not in _OVERLOADED and status != 404:
        return
    await read_recorded(response, capture, _MAX_ERROR_BYTES)
    if status in _OVERLOADED:
        raise UnavailableError(
            "The engine takes no more requests now. Try again in a moment.",
            code="engine_overloaded",
            retry_after=_retry_after(response),
        )
    raise EngineError(f"The engine answered with status {status}.")


async def read_recorded(response: UpstreamResponse, capture: Capture, max_bytes: int) -> bytes:
    """Return at most the first `max_bytes` of an answer's body; what came is recorded anyway."""
    pieces: list[bytes] = []
    num_bytes = 0
    async for piece in response.chunks():
        capture.got(piece)
        pieces.append(piece)
        num_bytes += len(piece)
        if num_bytes >= max_bytes:
            break
    return b"".join(pieces)[:max_bytes]


def _retry_after(response: UpstreamResponse) -> float:
    given = response.headers.get("retry-after", "")
    return min(float(given), 60.0) if given.isdigit() else _RETRY_SECONDS
