"""Server-sent events on bytes: where they end, and which of them only we asked for.

A stream passes through as it came, however the network cut it, less what the gateway asked for and
the client did not. Boundaries are found on bytes, never on decoded lines: U+2028 and its like end a
line in Python, not in the event-stream format. What an event means, its endpoint knows.
"""

import re

from gateway.dialects.endpoint import NO_TOKEN, Endpoint, Mark, data_of

# A blank line: two line ends in a row, each CRLF, LF or CR. A CR at the very end of what is here
# may be half of a CRLF, so it has to be followed by something.
_BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?=[^\n])){2}")
_LONGEST_BLANK_LINE = 4
_CR = ord("\r")  # a number is found in bytes in a fifth of the time

# Longer events are passed on while they come; none that a client is not to see is nearly this long.
_MAX_HELD_BYTES = 64 * 1024
# A long one may be the last, which repeats the whole answer and ends with what was used.
_MAX_READ_BYTES = 16 * 2**20


class EventFilter:
    """Passes a stream through, and keeps what the record needs of it.

    Attributes:
        usage: the data of the event that told what was used, once it came.
        is_done: whether the event came that ends an answer.
        is_failed: whether an event came that carries an error of the engine.
        num_events: events seen so far, less those that come before the model says anything.
    """

    def __init__(self, endpoint: Endpoint, *, drops_usage: bool) -> None:
        self.usage: bytes | None = None
        self.is_done = False
        self.is_failed = False
        self.num_events = 0
        self._endpoint = endpoint
        self._drops_usage = drops_usage
        self._held = b""
        self._passed: list[bytes] = []  # of an event that is too long to be held
        self._num_passed_bytes = 0

    @property
    def is_between_events(self) -> bool:
        """Whether what was passed on so far ends with a whole event, and more are to come."""
        return not self._passed and not self.is_done

    def feed(self, chunk: bytes) -> bytes:
        """Take what arrived; return what may go on to the client now."""
        held = self._held + chunk
        passed: list[bytes] = []
        start = 0
        search_from = max(0, len(self._held) - _LONGEST_BLANK_LINE + 1)
        find_end = _find_end if b"\r" in held else _find_end_among_lf
        while end := find_end(held, search_from):
            passed.append(self._pass(held[start:end]))
            start = search_from = end
        self._held = held[start:]
        if len(self._held) > _MAX_HELD_BYTES:
            passed.append(self._release_long_event())
        return b"".join(passed)

    def is_token(self, chunk: bytes) -> bool:
        """Whether what arrived is one whole event, a piece of the answer, as nearly all of it is."""
        return (
            not self._held
            and not self._passed
            and not self.is_done
            and 0 < chunk.find(b"\n\n") == len(chunk) - 2
            and _CR not in chunk
            and self._endpoint.mark(chunk) is None
        )

    def finish(self) -> bytes:
        """Return what is left when the stream has ended, if it may go on."""
        rest, self._held = self._held, b""
        return self._pass(rest) if rest else b""

    def _pass(self, event: bytes) -> bytes:
        if self._passed:
            self._read_long_event(event)
            return event
        mark = self._endpoint.mark(event)
        if mark is not None:
            self._note(mark, event)
            return b"" if mark.is_usage_only and self._drops_usage else event
        self.num_events += 1
        return event

    def _note(self, mark: Mark, event: bytes) -> None:
        if mark is not NO_TOKEN:
            self.num_events += 1
        self.is_done = self.is_done or mark.is_end
        self.is_failed = self.is_failed or mark.is_error
        if mark.has_usage:
            self.usage = data_of(event)

    def _release_long_event(self) -> bytes:
        # The last bytes may be the beginning of the blank line.
        cut = len(self._held) - _LONGEST_BLANK_LINE
        released, self._held = self._held[:cut], self._held[cut:]
        self._num_passed_bytes += cut
        if not self._passed or self._num_passed_bytes <= _MAX_READ_BYTES:
            self._passed.append(released)
        return released

    def _read_long_event(self, rest: bytes) -> None:
        event = b"".join([*self._passed, rest])
        is_whole = self._num_passed_bytes <= _MAX_READ_BYTES
        self._passed, self._num_passed_bytes = [], 0
        mark = self._endpoint.mark(event)
        if mark is None:
            self.num_events += 1
        else:
            self._note(mark, event)
            if not is_whole:
                self.usage = None


def _find_end(held: bytes, search_from: int) -> int:
    """Return where the first event from there on ends, with its blank line; 0 if it does not."""
    match = _BLANK_LINE.search(held, search_from)
    return match.end() if match else 0


def _find_end_among_lf(held: bytes, search_from: int) -> int:
    """Return the same of bytes without a CR, as nearly all are, in a tenth of the time."""
    at = held.find(b"\n\n", search_from)
    return at + 2 if at >= 0 else 0
