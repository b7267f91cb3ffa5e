"""Comments in a stream that says nothing for long, so that no proxy takes it for dead.

Clients skip them: a line that begins with a colon is a comment (WHATWG HTML, 9.2.6).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from gateway.inference.client import Reply
from gateway.inference.events import EventFilter

PING: Final = b": ping\n\n"


@asynccontextmanager
async def kept_awake(
    reply: Reply, events: EventFilter, ping_seconds: float | None
) -> AsyncIterator[Callable[[bytes], Awaitable[None]]]:
    """Yield what passes pieces on, and pings while it is not used.

    Args:
        reply: a stream that has begun.
        events: knows whether what was passed on ends with a whole event.
        ping_seconds: a ping comes after so long a silence, or up to twice as long; None: never.
    """
    if ping_seconds is None:
        yield reply.pass_on
        return
    pinger = _Pinger(reply, events)
    pinging = asyncio.create_task(pinger.run(ping_seconds))
    try:
        yield pinger.pass_on
    finally:
        pinging.cancel()
        # If its last ping failed, so does what the stream sends next.
        await asyncio.gather(pinging, return_exceptions=True)


class _Pinger:
    def __init__(self, reply: Reply, events: EventFilter) -> None:
        self._reply = reply
        self._events = events
        self._num_passed = 0
        self._sending = asyncio.Lock()  # a ping that waits for a slow client must not cut an event

    async def pass_on(self, piece: bytes) -> None:
        self._num_passed += 1
        async with self._sending:
            await self._reply.pass_on(piece)

    async def run(self, ping_seconds: float) -> None:
        while True:
            num_before = self._num_passed
            await asyncio.sleep(ping_seconds)
            is_silent = self._num_passed == num_before and not self._sending.locked()
            if is_silent and self._events.is_between_events:
                async with self._sending:
                    await self._reply.pass_on(PING)
