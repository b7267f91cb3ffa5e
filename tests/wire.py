"""A connection that keeps what is written to it, under an exchange of the test's own."""

import asyncio

from uvicorn.protocols.http.flow_control import FlowControl

from gateway.http.exchange import Exchange


class KeepingTransport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep it."""
        self.written += data

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self.is_closed

    def close(self) -> None:
        """Take nothing more."""
        self.is_closed = True

    def abort(self) -> None:
        """Take nothing more."""
        self.is_closed = True


class KeptWire:
    """A connection with one exchange on it."""

    client = ("127.0.0.1", 1)
    default_lines = b""

    def __init__(self, unread_seconds: float = 60) -> None:
        self.transport = KeepingTransport()
        self.flow = FlowControl(self.transport)
        self.unread_seconds = unread_seconds
        self.exchange = Exchange(self, {}, keep_alive=True, expects_continue=False)

    @property
    def body(self) -> bytes:
        """What was written behind the head."""
        return self.transport.written.partition(b"\r\n\r\n")[2]

    def close(self, *, is_body_due: bool) -> None:
        """Close."""
        self.transport.close()

    def on_response_complete(self) -> None:
        """Take no other request."""
