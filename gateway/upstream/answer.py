"""Reading an answer: bytes in as the network cuts them, a head and a body out. Does no I/O.

llhttp, which httptools wraps, is strict here: it refuses folded headers, bare line feeds, control
characters, two lengths, a length beside chunks, and numbers that are too large.
"""

from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from gateway.upstream.errors import not_http
from gateway.upstream.headers import Headers

MAX_HEAD_BYTES: Final = 64 * 1024
"""Of names and values, trailers among them; and of anything else that is not body."""

_BODILESS: Final = frozenset({204, 304})


class Answer:
    """One answer to a POST. Whatever the engine sends, `feed` raises EngineError or nothing."""

    def __init__(self) -> None:
        self.status = 0
        self.headers = Headers(())
        self.num_buffered = 0
        """Bytes of the body that nobody has taken yet."""
        self.is_begun = False
        self.is_head_complete = False
        self.is_complete = False
        self.is_last = False
        """Whether the connection ends with this answer."""
        self._ends_with_connection = False
        self._fields: list[tuple[bytes, bytes]] = []
        self._num_field_bytes = 0
        self._num_overhead_bytes = 0
        self._pieces: list[bytes] = []
        self._parser: HttpResponseParser | None = HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Read on. Bytes after the answer's end are ignored, and make it the last one.

        Raises:
            EngineError: this is no HTTP answer, or more head than is allowed.
        """
        self.is_begun = True
        if self._parser is None:
            self.is_last = True
            return
        num_before = self.num_buffered
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if not self.is_complete:
                raise not_http(str(error.__context__ or error)) from error
            self.is_last = True
        if self.is_complete:
            # It holds our methods, and we hold it: without this, only the garbage collector
            # would take the two apart.
            self._parser = None
        elif self.num_buffered == num_before:
            self._count_overhead(len(data))
        else:
            self._num_overhead_bytes = 0

    def end(self) -> None:
        """Note that the engine closed the connection: the way some bodies end."""
        if self.is_head_complete and self._ends_with_connection:
            self.is_complete = True

    def take(self) -> bytes:
        """Return all that has come of the body since the last time."""
        pieces = self._pieces
        taken = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self.num_buffered = 0
        return taken

    def _count_overhead(self, num_bytes: int) -> None:
        """Bound what comes without a byte of body: an endless line, trailer or chunk extension."""
        self._num_overhead_bytes += num_bytes
        if self._num_overhead_bytes > MAX_HEAD_BYTES:
            raise not_http(f"{self._num_overhead_bytes} bytes of it are neither head nor body")

    # What follows is called by the parser; an exception stops it.

    def on_message_begin(self) -> None:
        """Stop at a second answer: nobody has asked for one."""
        if self.is_complete:
            raise ValueError("a second answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note a header; after the body it is a trailer, which nobody reads."""
        self._num_field_bytes += len(name) + len(value)
        if self._num_field_bytes > MAX_HEAD_BYTES:
            raise ValueError(f"its head is longer than {MAX_HEAD_BYTES} bytes")
        if not self.is_head_complete:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Take a final head; pass over an interim one, such as 100 Continue."""
        assert self._parser is not None
        self.status = self._parser.get_status_code()
        self.headers = Headers(self._fields)
        self._fields.clear()
        is_framed = "content-length" in self.headers or "transfer-encoding" in self.headers
        if self.status == 101 or not 100 <= self.status <= 599:
            raise ValueError(f"status {self.status} does not answer a POST")
        if self.status < 200:
            if is_framed:
                raise ValueError("an interim answer has no body")
            return
        if self.headers.get("transfer-encoding", "chunked").lower() != "chunked":
            raise ValueError("it is not sent in chunks but in an encoding of its own")
        self._ends_with_connection = not is_framed and self.status not in _BODILESS
        self.is_last = not self._parser.should_keep_alive()
        self.is_head_complete = True
        self._num_overhead_bytes = 0

    def on_body(self, body: bytes) -> None:
        """Keep a piece until it is taken."""
        self._pieces.append(body)
        self.num_buffered += len(body)

    def on_message_complete(self) -> None:
        """Note the end; that of an interim answer is none."""
        self.is_complete = self.is_head_complete
