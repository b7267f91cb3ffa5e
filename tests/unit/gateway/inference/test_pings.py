"""Pings fill silences, and only between whole events."""

import asyncio
from typing import Any

from gateway.dialects.chat import CHAT
from gateway.inference.client import Reply
from gateway.inference.events import EventFilter
from gateway.inference.pings import PING, kept_awake
from tests.gateway import until

HALF = b"data: " + b"x" * 70_000


async def test_no_ping_cuts_an_event_in_two() -> None:
    """A long event is passed on while it comes: what is between its parts stays together."""
    sent: list[bytes] = []

    async def send(message: Any) -> None:
        sent.append(message["body"])

    events = EventFilter(CHAT, drops_usage=False)
    async with kept_awake(Reply(send), events, 0.01) as pass_on:
        await pass_on(events.feed(b"data: 1\n\n"))
        await until(lambda: PING in sent)
        await pass_on(events.feed(HALF))
        del sent[:]
        await asyncio.sleep(0.1)
        assert sent == []
        await pass_on(events.feed(HALF + b"\n\n"))
        await until(lambda: sent[-1] == PING)
