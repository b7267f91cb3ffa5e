"""What no client should send: heads, framings, bodies. A gateway refuses each, or hangs up.

`KEY` stands for the text of a key; a request without a word about it would be refused for that.
"""

import gzip
import json
import zlib
from itertools import product
from typing import Any

KEY = b"{key}"
HOST = b"Host: a\r\n"
JSON = b"Content-Type: application/json\r\n"
POST = b"POST /v1/chat/completions HTTP/1.1\r\n" + HOST + b"Authorization: Bearer {key}\r\n"
GET = b"GET /v1/models HTTP/1.1\r\n" + HOST + b"Authorization: Bearer {key}\r\n"
CLOSE = b"Connection: close\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHAT = b'{"model":"base","messages":[{"role":"user","content":"a"}]}'
SMUGGLED = GET + b"\r\n"
"""A second request, which nobody may answer who was sent one."""

# Headers that say twice, or not at all, where the body ends.
_AMBIGUOUS: dict[str, bytes] = {
    "length-and-chunked": b"Content-Length: 5\r\n" + CHUNKED,
    "chunked-and-length": CHUNKED + b"Content-Length: 5\r\n",
    "chunked-and-no-length": CHUNKED + b"Content-Length: 0\r\n",
    "two-lengths": b"Content-Length: 0\r\nContent-Length: 5\r\n",
    "length-list": b"Content-Length: 5, 5\r\n",
    "length-with-a-sign": b"Content-Length: +5\r\n",
    "length-below-nothing": b"Content-Length: -1\r\n",
    "length-in-hex": b"Content-Length: 0x5\r\n",
    "length-in-two-words": b"Content-Length: 5 5\r\n",
    "length-beyond-64-bits": b"Content-Length: 18446744073709551621\r\n",
    "length-without-end": b"Content-Length: " + b"9" * 5000 + b"\r\n",
    "no-number": b"Content-Length: five\r\n",
    "arabic-digits": b"Content-Length: \xd9\xa5\r\n",
    "empty-length": b"Content-Length: \r\n",
    "unknown-encoding": b"Transfer-Encoding: xchunked\r\n",
    "chunked-not-last": b"Transfer-Encoding: chunked, gzip\r\n",
    "chunked-twice": b"Transfer-Encoding: chunked, chunked\r\nContent-Length: 5\r\n",
    "two-encodings": CHUNKED + b"Transfer-Encoding: identity\r\n",
    "identity": b"Transfer-Encoding: identity\r\nContent-Length: 5\r\n",
    "vertical-tab": b"Transfer-Encoding: \x0bchunked\r\nContent-Length: 5\r\n",
    "space-before-the-colon": b"Transfer-Encoding : chunked\r\n",
    "tab-before-the-colon": b"Transfer-Encoding\t: chunked\r\n",
    "folded-encoding": b"Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n",
    "encoding-behind-a-bare-lf": b"A: a\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    "encoding-behind-a-bare-cr": b"A: a\rTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    "nul-in-the-name": b"Transfer-Encoding\0: chunked\r\nContent-Length: 5\r\n",
}
_NO_CHUNKS: dict[str, bytes] = {
    "size-below-nothing": b"-1\r\n",
    "size-with-0x": b"0x2\r\n{}\r\n0\r\n\r\n",
    "size-beyond-64-bits": b"fffffffffffffffff\r\n",
    "size-is-no-number": b"zz\r\n",
    "empty-size": b"\r\n{}\r\n0\r\n\r\n",
    "longer-than-it-says": b"2\r\n{}{}\r\n0\r\n\r\n",
    "bare-lf": b"2\n{}\n0\n\n",
    "extension-without-end": b"2;" + b"a" * 70_000,
    "trailer-without-end": b"0\r\nA: " + b"a" * 400_000,
}
# Headers of which a proxy may judge another one than we do: who is asked would be the client's choice.
_TWICE: tuple[tuple[bytes, bytes, bytes], ...] = (
    (b"Authorization", b"Bearer x", b"Bearer {key}"),
    (b"Content-Type", b"text/plain", b"application/json"),
    (b"Content-Encoding", b"gzip", b"identity"),
    (b"x-strop-conversation", b"a", b"b"),
    (b"x-api-key", b"x", b"{key}"),
    (b"Origin", b"http://a", b"http://b"),
)
_ODD_HEADS: dict[str, bytes] = {
    "no-host": b"GET /v1/models HTTP/1.1\r\nAuthorization: Bearer {key}\r\n\r\n",
    "two-hosts": GET + b"Host: b\r\n\r\n",
    **{
        f"two-of-{name.decode()}": (
            POST
            + JSON
            + CLOSE
            + b"%b: %b\r\n" * 2 % (name, first, name, last)
            + b"Content-Length: %d\r\n\r\n%b" % (len(CHAT), CHAT)
        )
        for name, first, last in _TWICE
    },
    "two-keys": GET + b"authorization: Bearer {key}\r\n" + CLOSE + b"\r\n",
    "no-version": b"GET /v1/models\r\n\r\n",
    "version-0.9": b"GET /v1/models HTTP/0.9\r\n" + HOST + b"\r\n",
    "version-9": b"GET /v1/models HTTP/9.9\r\n" + HOST + b"\r\n",
    "http-2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "zeros": b"\0" * 1000,
    "lower-case-method": b"get /v1/models HTTP/1.1\r\n" + HOST + b"\r\n",
    "unknown-method": b"BREW /v1/models HTTP/1.1\r\n" + HOST + b"\r\n",
    "connect": b"CONNECT a:80 HTTP/1.1\r\n" + HOST + b"\r\n",
    "trace": b"TRACE /v1/models HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n",
    "asterisk": b"OPTIONS * HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n",
    "space-in-the-path": b"GET /v1 /models HTTP/1.1\r\n" + HOST + b"\r\n",
    "space-before-a-name": b"GET /v1/models HTTP/1.1\r\n Host: a\r\n\r\n",
    "folded-header": GET + b"A: a\r\n a\r\n\r\n",
    "nul-in-a-header": GET + b"A: \0\r\n\r\n",
    "empty-name": GET + b": a\r\n\r\n",
    "no-colon": GET + b"aaaa\r\n\r\n",
    "odd-name": GET + b"A\xe4: a\r\n\r\n",
    "bare-lf": GET.replace(b"\r\n", b"\n") + b"\n",
    "long-header": GET + b"A: " + b"a" * 70_000 + b"\r\n\r\n",
    "many-headers": GET + b"A: a\r\n" * 12_000 + b"\r\n",
    "long-path": b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "nul-in-the-path": b"GET /v1/models%00 HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n",
    "path-is-no-utf8": b"GET /v1/models%ff HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n",
    "up-and-away": b"GET /v1/../../etc/passwd HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n",
    "half-a-percent": b"GET /v1/models%2 HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n",
    "two-slashes": b"GET //v1/models HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n",
    "another-scheme": b"GET gopher://b/v1 HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n",
    "upgrade-with-a-body": POST + JSON + b"Connection: Upgrade\r\nUpgrade: h2c\r\n"
    b"Content-Length: 2\r\n\r\n{}",
    "long-key": POST.replace(KEY, b"a" * 60_000) + JSON + CLOSE + b"Content-Length: 2\r\n\r\n{}",
    "injected-key": POST.replace(KEY, b"x' OR (SELECT pg_sleep(8)) IS NOT NULL --")
    + (JSON + CLOSE + b"Content-Length: 2\r\n\r\n{}"),
    "key-is-no-ascii": POST.replace(KEY, b"\xff\xfe")
    + JSON
    + CLOSE
    + b"Content-Length: 2\r\n\r\n{}",
    "long-conversation": POST + JSON + CLOSE + b"x-strop-conversation: " + b"a" * 257 + b"\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(CHAT), CHAT),
    "expects-the-impossible": POST
    + JSON
    + CLOSE
    + b"Expect: 200-ok\r\nContent-Length: 2\r\n\r\n{}",
}

HEADS: dict[str, bytes] = {
    **{
        f"{name}-{kind}": POST + JSON + headers + b"\r\n" + body + SMUGGLED
        for (name, headers), (kind, body) in product(
            _AMBIGUOUS.items(), (("plain", b"{    "), ("chunks", b"0\r\n\r\n"))
        )
    },
    **{
        f"chunk-{name}": POST + JSON + CHUNKED + b"\r\n" + body + SMUGGLED
        for name, body in _NO_CHUNKS.items()
    },
    **_ODD_HEADS,
}
"""Whole requests, byte by byte."""

ENCODED: dict[str, tuple[bytes, bytes]] = {
    "gzip": (b"Content-Encoding: gzip\r\n", gzip.compress(CHAT)),
    "gzip-bomb": (b"Content-Encoding: gzip\r\n", gzip.compress(b" " * 2**26)),
    "deflate": (b"Content-Encoding: deflate\r\n", zlib.compress(CHAT)),
    "brotli": (b"Content-Encoding: br\r\n", CHAT),
    "gzip-twice": (b"Content-Encoding: gzip, gzip\r\n", gzip.compress(gzip.compress(CHAT))),
    "unannounced-gzip": (b"", gzip.compress(CHAT)),
    "utf-16": (b"", CHAT.decode().encode("utf-16")),
    "utf-16-le": (b"", CHAT.decode().encode("utf-16-le")),
    "utf-32": (b"", CHAT.decode().encode("utf-32")),
    "utf-7": (b"", b"+AHsAIgBtAG8AZABlAGwAIgA6-"),
    "byte-order-mark": (b"", b"\xef\xbb\xbf" + CHAT),
    "latin-1": (b"", CHAT.replace(b'"a"', b'"\xe4"')),
    "overlong-utf8": (b"", CHAT.replace(b'"a"', b'"\xc0\xaf"')),
    "surrogate-in-utf8": (b"", CHAT.replace(b'"a"', b'"\xed\xa0\x80"')),
    "half-a-letter": (b"", CHAT.replace(b'"a"', b'"\xf0\x9f\x98"')),
}
"""Headers and a body that is no plain UTF-8."""

_TYPES = (b"", b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data", b"\xff")
TYPED: dict[str, bytes] = {f"type-{number}": kind for number, kind in enumerate(_TYPES)}
"""Types that a foreign page may send without asking, and worse."""


def chat(**fields: Any) -> bytes:
    """Return a chat's body."""
    return json.dumps({**json.loads(CHAT), **fields}).encode()


def raw_chat(name: str, value: bytes) -> bytes:
    """Return a chat's body with a field as it is written."""
    return CHAT[:-1] + b',"%b":%b}' % (name.encode(), value)


MALFORMED: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \n",
    "half": CHAT[:-1],
    "two": CHAT * 2,
    "trailing-junk": CHAT + b"x",
    "trailing-comma": CHAT[:-1] + b",}",
    "comment": b"/* */" + CHAT,
    "single-quotes": CHAT.replace(b'"', b"'"),
    "array": b"[]",
    "string": b'"text"',
    "null": b"null",
    "number": b"1",
    "nul": b"\0",
    "nan": raw_chat("temperature", b"NaN"),
    "infinity": raw_chat("temperature", b"-Infinity"),
    "too-large-a-float": raw_chat("temperature", b"1e999"),
    "too-large-a-float-below": raw_chat("seed", b"-1e999"),
    "leading-zero": raw_chat("seed", b"01"),
    "leading-plus": raw_chat("seed", b"+1"),
    "hex-number": raw_chat("seed", b"0x1"),
    "control-in-a-string": raw_chat("user", b'"\x01"'),
    "bad-escape": raw_chat("user", b'"\\x41"'),
    "lone-surrogate": raw_chat("user", b'"\\ud800"'),
    "surrogates-swapped": raw_chat("user", b'"\\udc00\\ud800"'),
    "deep-objects": b'{"a":' * 100_000,
    "deep-arrays": b"[" * 100_000,
    "deep-and-closed": raw_chat("tools", b"[" * 2000 + b"]" * 2000),
}
"""What is no JSON object, for whatever route."""

UNFIT: dict[str, bytes] = {
    "n-without-end": raw_chat("n", b"9" * 5000),
    "seed-of-65-bits": raw_chat("seed", b"18446744073709551616"),
    "max-tokens-as-a-float": raw_chat("max_tokens", b"1e3"),
    "n-is-true": chat(n=True),
    "no-model": b'{"messages":[]}',
    "long-model": chat(model="a" * 10**6),
    "model-is-an-array": chat(model=["base"]),
    "nul-in-the-user": chat(user="\0"),
    "long-user": chat(user="a" * 10**6),
    "many-fields": chat(**{f"f{number}": 1 for number in range(10_000)}),
    "long-field-name": chat(**{"f" * 10**6: 1, "n": 9}),
    "many-messages": chat(messages=[{"role": "user", "content": "a"}] * 20_000),
    "a-million-arrays": raw_chat("messages", b"[" + b"[]," * 10**6 + b"[]]"),
    "many-stops": chat(stop=["a"] * 100_000),
    "long-stop": chat(stop="a" * 10**6),
    "many-biases": chat(logit_bias={str(token): 1 for token in range(50_000)}),
    "deep-schema": chat(
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "a", "schema": json.loads('{"a":' * 40 + "1" + "}" * 40)},
        }
    ),
    "catastrophic-regex": chat(structured_outputs={"regex": "(a+)+b"}),
    "template": chat(chat_template="{% for a in range(10**9) %}{% endfor %}"),
    "foreign-host": chat(api_base="http://169.254.169.254"),
    "foreign-image": chat(
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": "http://allowed\\@169.254.169.254/"}}
                ],
            }
        ]
    ),
}
"""JSON objects that no engine should be asked with."""
