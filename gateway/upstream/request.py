"""Writing a request: a head that cannot be split, a body in pieces that can be held back."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from serving.errors import ConfigurationError
from serving.target import Target

# RFC 9110, 5.6.2 (token) and 5.5 (field-value): no line ends, no NUL.
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

# A second one of these could make the engine see another request than the one that was sent.
_OURS: Final = frozenset(
    {
        *("accept-encoding", "connection", "content-length", "expect", "host", "keep-alive"),
        *("te", "trailer", "transfer-encoding", "upgrade", "user-agent"),
    }
)

_PIECE_BYTES: Final = 64 * 1024


def write_head(target: Target, headers: Mapping[str, str], num_body_bytes: int) -> bytes:
    """Return the head of a POST.

    Raises:
        ConfigurationError: a header is ours to send, or holds what HTTP forbids.
    """
    lines = [
        f"POST {target.path} HTTP/1.1",
        f"host: {target.authority}",
        "accept-encoding: identity",
        "user-agent: strop",
        f"content-length: {num_body_bytes}",
    ]
    for name, value in headers.items():
        if not (_NAME.fullmatch(name) and _VALUE.fullmatch(value)) or name.lower() in _OURS:
            # Not its value: it may be a key.
            raise ConfigurationError(f"The header {name!r} cannot be sent to an engine.")
        lines.append(f"{name}: {value}")
    return "\r\n".join([*lines, "\r\n"]).encode("latin-1")


def write_pieces(head: bytes, body: bytes) -> Iterator[bytes | memoryview]:
    """Yield what to write, one piece at a time; a small request is a single piece.

    More than that at once would only fill the transport's buffer, out of reach of back-pressure.
    """
    yield head + body[:_PIECE_BYTES]
    rest = memoryview(body)[_PIECE_BYTES:]
    for start in range(0, len(rest), _PIECE_BYTES):
        yield rest[start : start + _PIECE_BYTES]
