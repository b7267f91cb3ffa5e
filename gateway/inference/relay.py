"""An engine's answer on its way to the client: untouched bytes, recorded as they pass."""

from functools import lru_cache
from typing import Final

from gateway.http.headers import lines_of
from gateway.http.reply import Reply
from gateway.inference.capture import Capture
from gateway.inference.events import EventFilter
from gateway.inference.order import Order
from gateway.inference.pings import Pings
from gateway.inference.place import Place
from gateway.inference.reading import read_at_most
from gateway.upstream.errors import WENT_AWAY
from gateway.upstream.protocol import UpstreamResponse
from serving.errors import EngineError
from serving.types import InferenceStatus

# An answer in one piece is held in memory; no model says this much.
_MAX_WHOLE_BYTES: Final = 64 * 2**20
# What a client has to take within `idle_seconds` to count as there.
_PIECE_BYTES: Final = 64 * 2**10
_NOT_CACHED: Final = lines_of([(b"cache-control", b"no-cache")])


async def relay(
    response: UpstreamResponse,
    order: Order,
    capture: Capture,
    reply: Reply,
    place: Place,
    ping_seconds: float | None,
) -> None:
    """Pass an answer on: a stream event by event, anything else in one piece.

    Raises:
        EngineError: the engine failed before the answer's end.
    """
    kind = response.headers.get("content-type", "application/json")
    if kind.startswith("text/event-stream"):
        reply.start_stream(response.status, _type_line(kind) + _NOT_CACHED)
        await _relay_stream(response, order, capture, reply, place, ping_seconds)
    else:
        await _relay_whole(response, order, capture, reply, place, _type_line(kind))


@lru_cache(maxsize=64)
def _type_line(kind: str) -> bytes:
    return lines_of([(b"content-type", kind.encode("latin-1"))])


async def _relay_stream(
    response: UpstreamResponse,
    order: Order,
    capture: Capture,
    reply: Reply,
    place: Place,
    ping_seconds: float | None,
) -> None:
    events = capture.stream = EventFilter(order.endpoint, drops_usage=order.drops_usage)
    pass_at_once, got, got_event = reply.pass_at_once, capture.got, capture.got_event

    def pass_token(chunk: bytes) -> bool:
        """Pass an event on at the moment at which it comes, if it is like most of them."""
        if not events.is_token(chunk) or not pass_at_once(chunk):
            return False
        events.num_events += 1
        got(chunk)
        got_event()
        return True

    taker = None
    try:
        with Pings(reply, events, ping_seconds):
            while chunk := await response.read(taker):
                piece = _record(chunk, events, capture)
                if events.num_events and not events.is_failed:
                    place.begin_answer()
                    taker = pass_token
                if events.is_done:
                    await capture.secure()
                if piece:
                    await reply.pass_on(piece)
    except EngineError:
        # After its last event the client has its answer, whatever becomes of the connection.
        if not events.is_done:
            raise
    rest = _record(None, events, capture)
    if not events.is_done:
        # Half an event is none, and would only make the error event behind it unreadable.
        last = order.endpoint.last_event
        raise EngineError(f"The engine's stream ended without {last}.", code=WENT_AWAY)
    await capture.secure()
    await reply.end(rest)


def _record(chunk: bytes | None, events: EventFilter, capture: Capture) -> bytes:
    """Note what arrived, None at the stream's end; return what goes on.

    At the answer's end the record is closed first. Its event may lack the blank line.
    """
    was_done, num_before = events.is_done, events.num_events
    if chunk is None:
        piece = events.finish()
    else:
        capture.got(chunk)
        piece = events.feed(chunk)
    if events.num_events > num_before:
        capture.got_event()
    if events.is_done and not was_done:
        _finish_stream(capture, events)
    return piece


def _finish_stream(capture: Capture, events: EventFilter) -> None:
    if events.is_failed:
        capture.finish(InferenceStatus.UPSTREAM_ERROR, "the engine reported an error in the stream")
    else:
        capture.finish(InferenceStatus.OK)


async def _relay_whole(
    response: UpstreamResponse,
    order: Order,
    capture: Capture,
    reply: Reply,
    place: Place,
    lines: bytes,
) -> None:
    body = await read_at_most(response, _MAX_WHOLE_BYTES, capture.got)
    if len(body) == _MAX_WHOLE_BYTES:
        raise EngineError(f"The engine's answer is longer than {_MAX_WHOLE_BYTES} bytes.")
    # How slowly a client reads what is here is nobody else's business.
    capture.stop_meters()
    place.end_well()
    if response.status >= 400:
        body = order.endpoint.refusal(response.status, body)
    else:
        capture.whole = body  # a client that leaves now has cost as much as one that stays
    reply.start_whole(response.status, lines, len(body))
    last_at = max(0, len(body) - 1) // _PIECE_BYTES * _PIECE_BYTES
    for start in range(0, last_at, _PIECE_BYTES):
        await reply.pass_on(body[start : start + _PIECE_BYTES])
    if response.status < 400:
        capture.finish(InferenceStatus.OK)
    else:
        capture.finish(InferenceStatus.REFUSED, f"the engine answered {response.status}")
    await capture.secure()
    await reply.end(body[last_at:])
