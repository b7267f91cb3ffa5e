"""Headers: as they come, and those that go with every answer or with every error."""

from math import ceil
from typing import Final

from serving.errors import StropError

Headers = dict[bytes, bytes]
"""A request's, by name in lower case."""
RawHeaders = list[tuple[bytes, bytes]]

SECURITY_HEADERS: Final[dict[str, str]] = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "content-security-policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}


def lines_of(headers: RawHeaders) -> bytes:
    """Return headers as they stand in a head.

    Raises:
        ValueError: one holds a line end, and would be two.
    """
    lines = b"\r\n".join([*map(b": ".join, headers), b""])
    if len(lines.splitlines()) != len(headers):
        raise ValueError("a header holds a line end")
    return lines


SECURITY_LINES: Final = lines_of(
    [(name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
)


CLOSE_LINE: Final = lines_of([(b"connection", b"close")])


def error_headers(error: StropError) -> RawHeaders:
    """Return the headers that HTTP asks for beside an error's body."""
    headers: RawHeaders = []
    if error.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="strop"'))
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, ceil(error.retry_after))))
    if error.status == 413 or error.code == "body_timeout":
        # The rest of the body is still on its way, or never comes.
        headers.append((b"connection", b"close"))
    return headers
