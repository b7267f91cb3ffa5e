"""Comments in a stream that says nothing for long, so that no proxy takes it for dead.

Clients skip them: a line that begins with a colon is a comment (WHATWG HTML, 9.2.6).
"""

import asyncio
from typing import Final

from gateway.http.reply import Reply
from gateway.inference.events import EventFilter

PING: Final = b": ping\n\n"


class Pings:
    """Pings while nothing else is sent: `with pings:` is the time in which it may.

    Args:
        reply: a stream that has begun.
        events: knows whether what was passed on ends with a whole event.
        seconds: a ping comes after so long a silence, or up to twice as long; None: never.
    """

    def __init__(self, reply: Reply, events: EventFilter, seconds: float | None) -> None:
        self._reply = reply
        self._events = events
        self._seconds = seconds
        self._num_sent = 0
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        if self._seconds is not None:
            self._wait(self._seconds)

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _wait(self, seconds: float) -> None:
        self._num_sent = self._reply.num_sent
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, self._look, seconds)

    def _look(self, seconds: float) -> None:
        if self._reply.num_sent == self._num_sent and self._events.is_between_events:
            self._reply.pass_at_once(PING)
        self._wait(seconds)
