"""Writing a request: a head that cannot be split, a body in pieces that can be held back."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import chain
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
    form = _form(target, tuple(headers))
    if not _VALUE.fullmatch("".join(headers.values())):
        raise _unfit(next(name for name in headers if not _VALUE.fullmatch(headers[name])))
    return (form % (num_body_bytes, *headers.values())).encode("latin-1")


@lru_cache(maxsize=1024)
def _form(target: Target, names: tuple[str, ...]) -> str:
    """Return a head with its values left out: the same for every call that differs in those."""
    for name in names:
        if not _NAME.fullmatch(name) or name.lower() in _OURS:
            raise _unfit(name)
    lines = [
        f"POST {target.path} HTTP/1.1",
        f"host: {target.authority}",
        "accept-encoding: identity",
        "user-agent: strop",
        *("content-length: \0", *(f"{name}: \0" for name in names)),
    ]
    return "\r\n".join([*lines, "\r\n"]).replace("%", "%%").replace("\0", "%s")


def _unfit(name: str) -> ConfigurationError:
    # Not its value: it may be a key.
    return ConfigurationError(f"The header {name!r} cannot be sent to an engine.")


def write_pieces(head: bytes, body: bytes) -> Iterable[bytes | memoryview]:
    """Return what to write, one piece at a time; a small request is a single piece.

    More than that at once would only fill the transport's buffer, out of reach of back-pressure.
    """
    if len(body) <= _PIECE_BYTES:
        return (head + body,)
    return chain((head + body[:_PIECE_BYTES],), _cut(memoryview(body)[_PIECE_BYTES:]))


def _cut(rest: memoryview) -> Iterator[memoryview]:
    for start in range(0, len(rest), _PIECE_BYTES):
        yield rest[start : start + _PIECE_BYTES]
