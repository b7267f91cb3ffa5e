"""Reading a request's body: bounded in bytes and in time, and JSON of one meaning only."""

import asyncio
import gc
from typing import Any

import msgspec
from litestar.types import Receive

from gateway.inference.client import ClientGoneError
from serving.errors import InvalidRequestError, PayloadTooLargeError
from serving.sections import GatewaySettings

Headers = dict[bytes, bytes]


async def read_json(receive: Receive, headers: Headers, limits: GatewaySettings) -> dict[str, Any]:
    """Return the JSON object in a request's body.

    A key that stands twice counts as its last value says, here and for the engine alike: what is
    sent on is written anew from what was read.

    Raises:
        InvalidRequestError: not application/json, too slow, or no JSON object in UTF-8.
        PayloadTooLargeError: longer than `max_body_bytes`, announced or not.
        ClientGoneError: the client hung up in the middle.
    """
    _check_headers(headers, limits.max_body_bytes)
    try:
        async with asyncio.timeout(limits.body_seconds):
            raw = await _read(receive, limits.max_body_bytes)
    except TimeoutError as error:
        raise InvalidRequestError(
            f"The body did not arrive within {limits.body_seconds:g} s.", code="body_timeout"
        ) from error
    return parse_object(raw)


def parse_object(raw: bytes) -> dict[str, Any]:
    """Return the JSON object that `raw` holds.

    Raises:
        InvalidRequestError: it holds anything else.
    """
    try:
        found = _decode(raw)
    except UnicodeDecodeError as error:
        raise _malformed("it is not UTF-8") from error
    except RecursionError as error:
        raise _malformed("it is nested too deeply") from error
    except msgspec.DecodeError as error:
        raise _malformed(str(error)) from error
    if not isinstance(found, dict):
        raise _malformed("it is no object")
    return found


def _decode(raw: bytes) -> Any:
    # Nothing here can be garbage yet, and looking for it again and again would take most of the
    # time of a body of many small arrays.
    gc.disable()
    try:
        return msgspec.json.decode(raw)
    finally:
        gc.enable()


def _check_headers(headers: Headers, max_bytes: int) -> None:
    media_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if media_type != b"application/json":
        # Anything a browser may send without asking first would let a foreign page post here.
        raise InvalidRequestError(
            "Send the body as `Content-Type: application/json`.", code="unsupported_media_type"
        )
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise InvalidRequestError(
            "Send the body without `Content-Encoding`.", code="unsupported_media_type"
        )
    if int(headers.get(b"content-length", b"0")) > max_bytes:
        raise _too_large(max_bytes)


async def _read(receive: Receive, max_bytes: int) -> bytes:
    pieces: list[bytes] = []
    num_bytes = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGoneError
        piece = message["body"]
        num_bytes += len(piece)
        if num_bytes > max_bytes:
            raise _too_large(max_bytes)
        pieces.append(piece)
        if not message["more_body"]:
            return b"".join(pieces)


def _malformed(reason: str) -> InvalidRequestError:
    return InvalidRequestError(f"The body is not readable: {reason}.", code="invalid_json")


def _too_large(max_bytes: int) -> PayloadTooLargeError:
    return PayloadTooLargeError(f"The body is longer than {max_bytes} bytes.")
