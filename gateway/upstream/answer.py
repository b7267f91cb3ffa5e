"""Reading answers: bytes in as the network cuts them, heads and bodies out. Does no I/O.

llhttp, which httptools wraps, is strict here: it refuses folded headers, bare line feeds, control
characters, two lengths, a length beside chunks, and numbers that are too large.
"""

from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from gateway.upstream.errors import not_http
from gateway.upstream.protocol import Taker

MAX_HEAD_BYTES: Final = 64 * 1024
"""Of names and values, trailers among them; and of anything else that is not body."""


class AnswerReader:
    """Reads the answers to POSTs on one connection, one after the other.

    Whatever the engine sends, `feed` raises EngineError or nothing. After an error, or an answer
    that `is_last`, there is no next one.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append
        """Called by the parser: keeps a piece until it is taken."""
        self._parser = HttpResponseParser(self)
        self.begin()

    def begin(self) -> None:
        """Expect the next answer."""
        self.status = 0
        self.fields: dict[bytes, bytes] = {}
        """The headers, names in lower case; one that came several times is joined with commas."""
        self.num_buffered = 0
        """Bytes of the body that nobody has taken yet."""
        self.is_begun = False
        self.is_head_complete = False
        self.is_body_begun = False
        """Whether somebody has taken some of it."""
        self.is_complete = False
        self.is_last = False
        """Whether the connection ends with this answer."""
        self._num_field_bytes = 0
        self._num_overhead_bytes = 0
        self._pieces.clear()

    def feed(self, data: bytes, taker: Taker | None = None) -> bool:
        """Read on. Bytes after the answer's end are ignored, and make it the last one.

        Args:
            data: what has come.
            taker: is offered it, if it holds one piece of the body's middle and nothing waits.

        Returns:
            Whether that piece was taken.

        Raises:
            EngineError: this is no HTTP answer, or more head than is allowed.
        """
        if self.is_complete:
            self.is_last = True
            return False
        self.is_begun = True
        pieces = self._pieces
        num_before = len(pieces)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if not self.is_complete:
                self._keep(num_before)
                raise not_http(str(error.__context__ or error)) from error
            self.is_last = True
        if len(pieces) == num_before:
            self._count_overhead(len(data))
            return False
        self._num_overhead_bytes = 0
        if taker and len(pieces) == 1 and not self.is_complete and taker(pieces[0]):
            pieces.clear()
            self.is_body_begun = True
            return True
        self._keep(num_before)
        return False

    def end(self) -> None:
        """Note that the engine closed the connection: the way some bodies end."""
        is_framed = b"content-length" in self.fields or b"transfer-encoding" in self.fields
        if self.is_head_complete and not is_framed:
            self.is_complete = True

    def take(self) -> bytes:
        """Return all that has come of the body since the last time."""
        pieces = self._pieces
        taken = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self.num_buffered = 0
        self.is_body_begun = True
        return taken

    def _keep(self, num_before: int) -> None:
        self.num_buffered += sum(map(len, self._pieces[num_before:]))

    def _count_overhead(self, num_bytes: int) -> None:
        """Bound what comes without a byte of body: an endless line, trailer or chunk extension."""
        if self.is_complete:
            return
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
        if self.is_head_complete:
            return
        name, value = name.lower(), value.strip(b" \t")
        before = self.fields.get(name)
        self.fields[name] = value if before is None else b"%b, %b" % (before, value)

    def on_headers_complete(self) -> None:
        """Take a final head; pass over an interim one, such as 100 Continue."""
        status = self._parser.get_status_code()
        if not 200 <= status <= 599:
            self._pass_over(status)
            return
        if self.fields.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
            raise ValueError("it is not sent in chunks but in an encoding of its own")
        self.status = status
        self.is_last = not self._parser.should_keep_alive()
        self.is_head_complete = True
        self._num_overhead_bytes = 0

    def _pass_over(self, status: int) -> None:
        if status == 101 or not 100 <= status <= 199:
            raise ValueError(f"status {status} does not answer a POST")
        if b"content-length" in self.fields or b"transfer-encoding" in self.fields:
            raise ValueError("an interim answer has no body")
        self.fields.clear()

    def on_message_complete(self) -> None:
        """Note the end; that of an interim answer is none."""
        self.is_complete = self.is_head_complete
