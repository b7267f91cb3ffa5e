"""Server-sent events on bytes: where they end, and the one that only we asked for.

A stream passes through as it came, however the network cut it, less one event: the usage that the
gateway asked for and the client did not. Boundaries are found on bytes, never on decoded lines:
U+2028 and its like end a line in Python, not in the event-stream format.
"""

import re

import msgspec

# A blank line: two line ends in a row, each CRLF, LF or CR. A CR at the very end of what is here
# may be half of a CRLF, so it has to be followed by something.
_BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?=[^\n])){2}")
_LONGEST_BLANK_LINE = 4
_USAGE_ONLY = re.compile(rb'"choices"\s*:\s*\[\s*\]')
_LINE_END = re.compile(rb"\r\n|\n|\r")

# No usage event is nearly this long; longer events are passed on without being held together.
_MAX_HELD_BYTES = 64 * 1024


class EventFilter:
    """Passes a stream through, and keeps what the record needs of it.

    Attributes:
        usage: the `data` of the usage event, once it came.
        is_done: whether `data: [DONE]` came.
        is_failed: whether an event came that carries an error of the engine.
        num_events: events seen so far.
    """

    def __init__(self, *, drops_usage: bool) -> None:
        self.usage: bytes | None = None
        self.is_done = False
        self.is_failed = False
        self.num_events = 0
        self._drops_usage = drops_usage
        self._held = b""
        self._is_inside_long_event = False

    def feed(self, chunk: bytes) -> bytes:
        """Take what arrived; return what may go on to the client now."""
        held = self._held + chunk
        passed: list[bytes] = []
        start = 0
        search_from = max(0, len(self._held) - _LONGEST_BLANK_LINE + 1)
        while match := _BLANK_LINE.search(held, search_from):
            passed.append(self._pass(held[start : match.end()]))
            start = search_from = match.end()
        self._held = held[start:]
        if len(self._held) > _MAX_HELD_BYTES:
            passed.append(self._release_long_event())
        return b"".join(passed)

    def finish(self) -> bytes:
        """Return what is left when the stream has ended, if it may go on."""
        rest, self._held = self._held, b""
        return self._pass(rest) if rest else b""

    def _pass(self, event: bytes) -> bytes:
        self.num_events += 1
        if self._is_inside_long_event:
            self._is_inside_long_event = False
            return event
        if b"[DONE]" in event and _data_of(event) == b"[DONE]":
            self.is_done = True
        elif event.startswith((b'data: {"error"', b'data:{"error"')):
            self.is_failed = True
        elif b'"usage"' in event and _USAGE_ONLY.search(event) and self._is_usage(event):
            return b"" if self._drops_usage else event
        return event

    def _is_usage(self, event: bytes) -> bool:
        data = _data_of(event)
        try:
            found = msgspec.json.decode(data, type=_UsageEvent)
        except ValueError:  # malformed JSON and bad UTF-8 alike: not ours to judge, passed on
            return False
        if found.choices or found.usage is None:
            return False
        self.usage = data
        return True

    def _release_long_event(self) -> bytes:
        # The last bytes may be the beginning of the blank line.
        cut = len(self._held) - _LONGEST_BLANK_LINE
        released, self._held = self._held[:cut], self._held[cut:]
        self._is_inside_long_event = True
        return released


class _UsageEvent(msgspec.Struct):
    choices: list[msgspec.Raw]
    usage: dict[str, msgspec.Raw] | None = None


def _data_of(event: bytes) -> bytes:
    """Return an event's data: its `data` lines, joined."""
    lines = [line for line in _LINE_END.split(event) if line.startswith(b"data:")]
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines)
