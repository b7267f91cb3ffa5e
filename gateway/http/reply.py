"""One answer on its way to the client, in its endpoint's words."""

import msgspec

from gateway.dialects.endpoint import Endpoint
from gateway.http.exchange import Exchange
from gateway.http.headers import RawHeaders, error_headers, lines_of
from serving.errors import StropError


class Reply:
    """What one request is answered with.

    Args:
        exchange: the request.
        endpoint: whose dialect errors are told in; None: OpenAI's.
    """

    def __init__(self, exchange: Exchange, endpoint: Endpoint | None = None) -> None:
        self.lines = bytearray()
        """Headers, as `lines_of` makes them, that are sent whatever the answer is, an error too."""
        self.pass_at_once = exchange.send_at_once
        """Sends a piece of a stream, unless the client is slower; returns whether it was sent."""
        self._endpoint = endpoint or Endpoint()
        self._exchange = exchange
        self._is_stream = False

    @property
    def status(self) -> int | None:
        """Which status was sent; None: nothing was."""
        return self._exchange.status

    @property
    def num_sent(self) -> int:
        """Pieces that were sent."""
        return self._exchange.num_sent

    def start_stream(self, status: int, lines: bytes) -> None:
        """Send the head of an answer that comes piece by piece."""
        self._is_stream = True
        self._exchange.start(status, lines + self.lines)

    def start_whole(self, status: int, lines: bytes, num_bytes: int) -> None:
        """Begin an answer whose length is known."""
        self._exchange.start(status, lines + self.lines, num_bytes)

    async def pass_on(self, piece: bytes) -> None:
        """Send a piece. Waits while the client is slower than the engine."""
        await self._exchange.send(piece)

    async def end(self, piece: bytes = b"") -> None:
        """Send the last piece."""
        await self._exchange.send(piece, is_last=True)

    async def send_nothing(self) -> None:
        """Answer 204, which has no body and so no length of one."""
        self.start_whole(204, b"", 0)
        await self.end()

    async def send_json(self, status: int, body: object, headers: RawHeaders | None = None) -> None:
        """Send a JSON answer in one piece."""
        content = msgspec.json.encode(body)
        lines = lines_of([(b"content-type", b"application/json"), *(headers or ())])
        self.start_whole(status, lines, len(content))
        await self.end(content)

    async def fail(self, error: StropError) -> None:
        """Tell the client of an error, if it is still there: as the answer, or a stream's last event."""
        if self._exchange.is_gone:
            return
        if self.status is None:
            body = self._endpoint.error_body(error)
            await self.send_json(error.status, body, error_headers(error))
        elif self._is_stream and not self._exchange.response_complete:
            # No last event after it: an answer cut short must not look whole.
            await self.pass_on(self._endpoint.error_event(error))
            await self.end()


def our_fault() -> StropError:
    """Return what strangers are told of a bug; its traceback is for the log."""
    return StropError("The gateway failed; its log says more.")
