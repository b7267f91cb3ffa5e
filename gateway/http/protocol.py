"""HTTP/1.1 as the gateway reads it: uvicorn's protocol, with the bounds and deadlines that it lacks.

What uvicorn 0.54 leaves open, and what is done about it here:

- A head may take any time and any length, and so may trailers: both are bounded.
- Trailers are added to the head that the application sees: they are dropped.
- A head without `Host` is served, and one with two, or two keys, and `//v1/models` as `/v1/models`:
  all of them are refused.
- The body of a request that asks for an upgrade, as Java's client does, is read as the next request,
  and what is sent ahead of its answer is lost: such a request is read as if it had not asked, which
  RFC 9110, 7.8, leaves to us.
- Bytes of a second request, sent ahead, hide that the client hangs up: reading goes on meanwhile.
- An idle connection is closed at shutdown, though a request may be on its way: it gets a second.
- A client that takes nothing keeps its socket for ever: the kernel is told when to give it up.
- Every answer arms a timer for the connection's idleness: one for all of them does.
"""

import asyncio
from typing import Any, Final, cast

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from gateway.alarm import Alarm
from gateway.http.exchange import Exchange, lose_client
from gateway.http.head import check_head, check_length, refusal_bytes, without_upgrade
from gateway.http.headers import Headers, lines_of
from gateway.http.refusals import MAX_HEAD_BYTES, head_late, head_too_long, refusal_of
from gateway.http.routes import Handler, Routes
from gateway.http.unread import give_up_unread
from serving.errors import RefusedHeadError

MAX_AHEAD_BYTES: Final = 64 * 1024
MAX_AHEAD_REQUESTS: Final = 128
"""What a client may send of later requests before the current one is answered."""

_FAREWELL_SECONDS: Final = 1.0
"""How long an idle connection outlives the order to shut down: a request may be on its way."""

_LINGER_SECONDS: Final = 2.0
"""How long a refused client may take to read why; closing at once could take the answer along."""


class StrictProtocol(HttpToolsProtocol):
    """One connection.

    Args:
        routes: what is answered by exchanges; all else goes to the ASGI application.
        head_seconds: how long a request's head may take, and a new client its first byte.
        unread_seconds: how long a client may leave unread what was sent to it.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        routes: Routes,
        head_seconds: float = 10.0,
        unread_seconds: float = 60.0,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.unread_seconds = unread_seconds
        self._routes = routes
        self._head_seconds = head_seconds
        self._idle_alarm = Alarm(self._rest_is_over)
        self._default_headers: list[tuple[bytes, bytes]] = []
        self._default_lines = b""
        self._head_timer: asyncio.TimerHandle | None = None
        self._linger_timer: asyncio.TimerHandle | None = None
        self._is_in_head = False
        self._plain_head = b""  # of a request that asks for an upgrade: itself without that
        self._is_in_body = False
        self._is_refused = False
        self._num_idle_bytes = 0  # that arrived since a head was complete or a piece of a body came
        self._num_ahead_bytes = 0
        self._current: RequestResponseCycle | None = None  # being answered; `cycle` is the newest
        self._is_leaving = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a new client. (asyncio's own signature has the base of all transports.)"""
        super().connection_made(transport)
        give_up_unread(transport, self.unread_seconds)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that is being answered, which need not be the newest."""
        self._expect_no_head()
        self._idle_alarm.close()
        if self._linger_timer is not None:
            self._linger_timer.cancel()
        if self._current is not None:
            lose_client(self._current)
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Answer what is under way and what is on its way; close when the client knows of it."""
        self._is_leaving = True
        if self._is_idle:
            self._close_soon()
        elif not self.cycle.response_started:
            self.cycle.keep_alive = False  # its head will say so

    def on_response_complete(self) -> None:
        """End an answer, and begin with the next one if its request is here."""
        self.server_state.total_requests += 1
        if self.transport.is_closing() or self._is_refused:
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._idle_alarm.set(self.loop.time() + self.timeout_keep_alive)
        if self._is_leaving:
            # It may have begun before that, and promised to take another request.
            self._close_soon()

    @property
    def default_lines(self) -> bytes:
        """The server's own headers, as they stand in a head: they change with the date."""
        headers = self.server_state.default_headers
        if headers is not self._default_headers:
            self._default_headers, self._default_lines = headers, lines_of(headers)
        return self._default_lines

    def _close_soon(self) -> None:
        self.loop.call_later(_FAREWELL_SECONDS, self._close_if_idle)

    @property
    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _rest_is_over(self) -> None:
        if not self._is_in_head:  # that has a deadline of its own
            self._close_if_idle()

    def _close_if_idle(self) -> None:
        if self._is_idle:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Parse what arrived; refuse what is no HTTP, or too much of it."""
        if self._is_refused:
            return
        self._num_idle_bytes += len(data)
        if self.pipeline:
            self._num_ahead_bytes += len(data)
            if self._num_ahead_bytes > MAX_AHEAD_BYTES:
                self.transport.abort()
                return
        try:
            self._parse(data)
        except httptools.HttpParserError as error:
            self._refuse(refusal_of(error))
            return
        if self._num_idle_bytes > MAX_HEAD_BYTES:
            self._refuse(head_too_long())
            return
        if len(self.pipeline) > MAX_AHEAD_REQUESTS:
            self.transport.abort()
            return
        if self.pipeline:
            self.flow.resume_reading()  # or nobody would notice that the client hangs up
        if self._is_in_head and self._head_timer is None:
            self._expect_head()

    def _parse(self, data: bytes) -> None:
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as asked:
                # To this parser the request ended with its head, and perhaps the connection with it.
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
                data = self._plain_head + data[asked.args[0] :]
                self._plain_head = b""
            else:
                return

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._is_in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Hand a request to the application, unless its head is unfit or has to be read again."""
        if self.parser.should_upgrade():
            self._plain_head = without_upgrade(self.parser, self.url, self.headers)
            return
        self._expect_no_head()
        if self._num_idle_bytes > MAX_HEAD_BYTES:  # what arrived with the head is counted too
            check_length(self.url, self.headers)
        headers = check_head(self.parser, self.url, self.headers)
        self._is_in_head = False
        self._is_in_body = True
        self._num_idle_bytes = 0
        handler = self._routes.find(self.parser.get_method(), self.url)
        if handler is None:
            super().on_headers_complete()
        else:
            self._begin_exchange(handler, headers)
        # What comes now are trailers, and not the application's business.
        self.headers = []

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._num_idle_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        if self._plain_head:
            return
        self._num_idle_bytes = 0
        self._is_in_body = False
        super().on_message_complete()
        self.flow.resume_reading()  # a long body had it paused

    def _begin_exchange(self, handler: Handler, headers: Headers) -> None:
        is_new = self.parser.get_http_version() == "1.1"
        exchange = Exchange(
            self,
            headers,
            keep_alive=is_new and self.parser.should_keep_alive(),
            expects_continue=is_new and self.expect_100_continue,
            takes_chunks=is_new,
        )
        # It can be what uvicorn does with a cycle.
        cycle, app = cast(RequestResponseCycle, exchange), cast(ASGI3Application, handler)
        is_first = self._is_idle
        self.cycle = cycle
        if is_first:
            self._start_asgi_task(cycle, app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, app))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._current = cycle
        self._num_ahead_bytes = 0
        if self._is_leaving:
            cycle.keep_alive = False
        super()._start_asgi_task(cycle, app)

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(self._head_seconds, self._head_is_late)

    def _expect_no_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        if not self._is_in_head:
            self.transport.close()  # it never said anything
            return
        self._refuse(head_late(self._head_seconds))

    def _refuse(self, refusal: RefusedHeadError) -> None:
        """Read nothing more, say why if an answer still fits in here, and close."""
        self._is_refused = True
        self._expect_no_head()
        at_work = self._current
        if at_work is not None and at_work.response_complete:
            at_work = None
        if at_work is not None and not (self._is_in_body and at_work is self.cycle):
            at_work.keep_alive = False  # what was sent ahead of its answer is unfit: close after it
            return
        if not self._is_in_body or (at_work is not None and not at_work.response_started):
            self.transport.write(refusal_bytes(refusal, self.default_lines))
            self._routes.tell_refused(refusal.code)
        if at_work is not None:
            lose_client(at_work)
        self._linger()

    def close(self, *, is_body_due: bool) -> None:
        """Close; who still sends a body is to read its answer first."""
        if not is_body_due:
            self.transport.close()
            return
        self._is_refused = True
        self._linger()

    def _linger(self) -> None:
        """Close our side, and the whole when the client has read it, or has had time to."""
        self._idle_alarm.close()
        self.flow.resume_reading()
        self.transport.write_eof()
        self._linger_timer = self.loop.call_later(_LINGER_SECONDS, self.transport.abort)
