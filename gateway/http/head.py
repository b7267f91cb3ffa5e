"""Heads of requests: which are fit for anybody to see. And the answer to one that is not."""

from collections import Counter
from typing import Final
from urllib.parse import unquote

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from gateway.http.headers import SECURITY_LINES, Headers, RawHeaders, lines_of
from gateway.http.refusals import MAX_HEAD_BYTES, head_too_long, malformed, no_such_path
from serving.errors import RefusedHeadError

_ONCE: Final = (
    b"authorization",
    b"content-encoding",  # a list, but nothing is served that has one
    b"content-type",
    b"origin",
    b"x-api-key",
    b"x-strop-conversation",
)
"""Beside `Host`: of two of them a proxy may judge the first, and we the last."""
_ONE_HOST: Final = "It needs one `Host` header."


def check_head(parser: httptools.HttpRequestParser, url: bytes, headers: RawHeaders) -> Headers:
    """Let a fit head pass; return its headers by name, the last one where several may be.

    Raises:
        RefusedHeadError: it has no host, twice what another server may read otherwise, or a path
            that one may.
    """
    found = dict(headers)
    if len(found) < len(headers):
        _check_repeated(headers)
    if b"host" not in found and parser.get_http_version() == "1.1":
        raise malformed(_ONE_HOST)
    if b"//" in url or b"%" in url:
        path = unquote(httptools.parse_url(url).path)
        if "//" in path:
            raise no_such_path(path)
    return found


def _check_repeated(headers: RawHeaders) -> None:
    counts = Counter(name for name, _ in headers)
    if counts[b"host"] > 1:
        raise malformed(_ONE_HOST)
    for name in _ONCE:
        if counts[name] > 1:
            raise malformed(f"It may have one `{name.decode()}` header only.")


def check_length(url: bytes, headers: RawHeaders) -> None:
    """Let a head of at most `MAX_HEAD_BYTES` pass.

    Raises:
        RefusedHeadError: it is longer.
    """
    if len(url) + sum(len(name) + len(value) + 4 for name, value in headers) > MAX_HEAD_BYTES:
        raise head_too_long()


def without_upgrade(parser: httptools.HttpRequestParser, url: bytes, headers: RawHeaders) -> bytes:
    """Return the head of a request that asks for an upgrade as if it did not.

    Raises:
        RefusedHeadError: it asks for a tunnel.
    """
    method = parser.get_method()
    if method == b"CONNECT":
        raise malformed("There is no tunnel here.")
    kept = lines_of([header for header in headers if header[0] != b"upgrade"])
    return b"%b %b HTTP/%b\r\n%b\r\n" % (method, url, parser.get_http_version().encode(), kept)


def refusal_bytes(refusal: RefusedHeadError, default_lines: bytes) -> bytes:
    """Return the whole answer to a head that is refused; the connection ends with it."""
    body = msgspec.json.encode(refusal.to_body())
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]
    lines = default_lines + lines_of(headers) + SECURITY_LINES
    return b"".join([STATUS_LINE[refusal.status], lines, b"\r\n", body])
