"""Reading a request's body: bounded in bytes and in time, and JSON of one meaning only."""

import asyncio
import gc
from typing import Any, Final

import msgspec

from gateway.http.exchange import Exchange
from gateway.http.headers import Headers
from serving.errors import InvalidRequestError, PayloadTooLargeError
from serving.sections import GatewaySettings

_MAX_CONTAINERS: Final = 100_000
"""Arrays and objects in a body. As many messages, parts and tools as may be have 40,000."""


async def read_json(exchange: Exchange, limits: GatewaySettings) -> dict[str, Any]:
    """Return the JSON object in a request's body.

    A key that stands twice counts as its last value says, here and for the engine alike: what is
    sent on is written anew from what was read.

    Raises:
        InvalidRequestError: not application/json, too slow, or no JSON object in UTF-8.
        PayloadTooLargeError: longer than `max_body_bytes`, announced or not.
    """
    _check_headers(exchange.headers, limits.max_body_bytes)
    body = await _read(exchange, limits)
    if len(body) > limits.max_body_bytes:
        raise _too_large(limits.max_body_bytes)
    return parse_object(body)


def parse_object(raw: bytes | bytearray) -> dict[str, Any]:
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


def _decode(raw: bytes | bytearray) -> Any:
    # Nothing here can be garbage yet, and looking for it again and again would take most of the
    # time of a body of many small arrays.
    gc.disable()
    try:
        is_long = len(raw) > 2 * _MAX_CONTAINERS
        return _decode_long(raw) if is_long else msgspec.json.decode(raw)
    finally:
        gc.enable()


def _decode_long(raw: bytes | bytearray) -> Any:
    num_before = gc.get_count()[0]
    found = msgspec.json.decode(raw)
    if gc.get_count()[0] - num_before > _MAX_CONTAINERS:
        del found  # now: to look through it for garbage would take several times as long as this
        raise _malformed(f"it holds more than {_MAX_CONTAINERS:,} arrays and objects")
    return found


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


async def _read(exchange: Exchange, limits: GatewaySettings) -> bytearray:
    if not exchange.more_body:  # a timer would cost more than all the rest
        return await exchange.read_body(limits.max_body_bytes)
    try:
        async with asyncio.timeout(limits.body_seconds):
            return await exchange.read_body(limits.max_body_bytes)
    except TimeoutError as error:
        raise InvalidRequestError(
            f"The body did not arrive within {limits.body_seconds:g} s.", code="body_timeout"
        ) from error


def _malformed(reason: str) -> InvalidRequestError:
    return InvalidRequestError(f"The body is not readable: {reason}.", code="invalid_json")


def _too_large(max_bytes: int) -> PayloadTooLargeError:
    return PayloadTooLargeError(f"The body is longer than {max_bytes} bytes.")
