"""Writing a request: one request and no other is what the engine can read."""

import pytest
from httptools import HttpRequestParser
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.upstream.request import write_head, write_pieces
from serving.errors import ConfigurationError
from serving.target import Origin, parse_target

TARGET = parse_target("http://engine:8000/v1/completions")


class Seen:
    """What a server reads."""

    def __init__(self, data: bytes) -> None:
        self.fields: list[tuple[str, str]] = []
        self.body = b""
        self.num_requests = 0
        HttpRequestParser(self).feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note one."""
        self.fields.append((name.decode("latin-1"), value.decode("latin-1").strip(" \t")))

    def on_body(self, body: bytes) -> None:
        """Note a piece."""
        self.body += body

    def on_message_complete(self) -> None:
        """Count."""
        self.num_requests += 1


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=12), st.text(max_size=20), max_size=4), st.binary())
def test_whatever_the_headers_hold_one_request_goes_out(
    headers: dict[str, str], body: bytes
) -> None:
    """Text from anywhere is sent as it is, or refused; never a second header or request."""
    try:
        data = write_head(TARGET, headers, len(body)) + body
    except ConfigurationError:
        return
    seen = Seen(data)
    ours = len(seen.fields) - len(headers)
    assert (ours, seen.num_requests, seen.body) == (4, 1, body)
    assert seen.fields[4:] == [(name, value.strip(" \t")) for name, value in headers.items()]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x", "a\r\nhost: elsewhere"),
        ("x", "a\nb"),
        ("x", "a\0b"),
        ("x", "\u4e2d"),
        ("x y", "a"),
        ("", "a"),
        ("Content-Length", "0"),
        ("transfer-encoding", "chunked"),
        ("Host", "elsewhere"),
    ],
)
def test_a_header_that_could_be_read_twice_is_refused(name: str, value: str) -> None:
    """By name, without its value: that may be a key."""
    with pytest.raises(ConfigurationError) as caught:
        write_head(TARGET, {name: value}, 0)
    assert value not in caught.value.message or value in {"a", "0"}


def test_a_head_is_filled_in_anew_for_each_call() -> None:
    """What was put together once holds no value, and no sign in it is taken for a place of one."""
    target = parse_target("http://engine:8000/v1/100%25/%s")
    heads = [write_head(target, {"x-%d": value}, 7) for value in ("one", "%s")]
    assert heads[0].startswith(b"POST /v1/100%25/%s HTTP/1.1\r\nhost: engine:8000\r\n")
    assert heads[0].endswith(b"\r\ncontent-length: 7\r\nx-%d: one\r\n\r\n")
    assert heads[1] == heads[0].replace(b"one", b"%s")
    with pytest.raises(ConfigurationError):
        write_head(target, {"x-%d": "one\r\nhost: elsewhere"}, 7)


@pytest.mark.parametrize("num_bytes", [0, 1, 2**16, 2**16 + 1, 300_000])
def test_the_pieces_make_the_request(num_bytes: int) -> None:
    """A small request is one write; of a large one nothing is left out."""
    body = bytes(range(256)) * (num_bytes // 256 + 1)
    pieces = list(write_pieces(b"head", body[:num_bytes]))
    assert b"".join(pieces) == b"head" + body[:num_bytes]
    assert len(pieces) == max(1, -(-num_bytes // 2**16))


@pytest.mark.parametrize(
    ("url", "origin", "authority", "path"),
    [
        (
            "http://engine:8000/v1/x?a=b#c",
            Origin("engine", 8000, False),
            "engine:8000",
            "/v1/x?a=b",
        ),
        ("https://Engine", Origin("engine", 443, True), "engine", "/"),
        ("http://[::1]:80/x", Origin("::1", 80, False), "[::1]", "/x"),
        ("https://[fe80::1]:8443/x", Origin("fe80::1", 8443, True), "[fe80::1]:8443", "/x"),
    ],
)
def test_a_url_is_taken_apart(url: str, origin: Origin, authority: str, path: str) -> None:
    """Names, addresses of both kinds, ports of their own."""
    target = parse_target(url)
    assert (target.origin, target.authority, target.path) == (origin, authority, path)


@pytest.mark.parametrize(
    "url",
    [
        *("engine:8000", "ftp://engine/", "http://", "http://engine:0/", "http://engine:99999/"),
        *("http://user:secret@engine/", "http://allowed\\@engine/", "http://engine/a b"),
        *(
            "http://engine/\r\nx: y",
            "http://b\u00fccher/",
            "http://[::1/",
            "http://a,b/",
            "https://-x/",
        ),
    ],
)
def test_what_is_no_engines_address_is_refused(url: str) -> None:
    """Another parser could read another host in it. The error may be read by others: no secret."""
    with pytest.raises(ConfigurationError) as caught:
        parse_target(url)
    assert "secret" not in str(caught.value)
