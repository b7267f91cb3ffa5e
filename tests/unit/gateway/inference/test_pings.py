"""Pings fill silences, and only between whole events."""

import asyncio

from gateway.dialects.chat import CHAT
from gateway.http.reply import Reply
from gateway.inference.events import EventFilter
from gateway.inference.pings import PING, Pings
from tests.gateway import until
from tests.wire import KeptWire

HALF = b"data: " + b"x" * 70_000


async def test_no_ping_cuts_an_event_in_two() -> None:
    """A long event is passed on while it comes: what is between its parts stays together."""
    wire = KeptWire()
    reply, events = Reply(wire.exchange), EventFilter(CHAT, drops_usage=False)
    reply.start_stream(200, b"")
    with Pings(reply, events, 0.01):
        await reply.pass_on(events.feed(b"data: 1\n\n"))
        await until(lambda: PING in wire.body)
        await reply.pass_on(events.feed(HALF))
        wire.transport.written = b""
        await asyncio.sleep(0.1)
        assert wire.transport.written == b""
        await reply.pass_on(events.feed(HALF + b"\n\n"))
        await until(lambda: wire.transport.written.endswith(PING + b"\r\n"))


async def test_a_client_that_lags_is_not_pinged() -> None:
    """It has enough to read; and pings that pile up would be read all at once."""
    wire = KeptWire()
    reply, events = Reply(wire.exchange), EventFilter(CHAT, drops_usage=False)
    reply.start_stream(200, b"")
    wire.flow.pause_writing()
    with Pings(reply, events, 0.01):
        await asyncio.sleep(0.1)
        assert wire.body == b""
        wire.flow.resume_writing()
        await until(lambda: PING in wire.body)
