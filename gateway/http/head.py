"""Heads of requests: which are fit for anybody to see. And the answer to one that is not."""

from urllib.parse import unquote

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from gateway.http.headers import SECURITY_LINES, RawHeaders, lines_of
from gateway.http.refusals import MAX_HEAD_BYTES, head_too_long, malformed, no_such_path
from serving.errors import RefusedHeadError


def check_head(parser: httptools.HttpRequestParser, url: bytes, headers: RawHeaders) -> None:
    """Let a fit head pass.

    Raises:
        RefusedHeadError: it has no host or several, or a path that another server may read otherwise.
    """
    num_hosts = [name for name, _ in headers].count(b"host")
    if num_hosts > 1 or (num_hosts == 0 and parser.get_http_version() == "1.1"):
        raise malformed("It needs one `Host` header.")
    if b"//" in url or b"%" in url:
        path = unquote(httptools.parse_url(url).path)
        if "//" in path:
            raise no_such_path(path)


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
