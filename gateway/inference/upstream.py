"""The HTTP client of the data path: one POST to an engine, its answer as bytes.

`Upstream` is the seam; `AiohttpUpstream` stands behind it for now. Whatever stands there has to
pass tests/contracts/test_upstream.py: closing an answer that was not read to its end closes the
connection, so the engine stops working on it; cancelling a call does the same; nothing leaks.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import aiohttp

from serving.errors import EngineError, EngineTimeoutError

UNREACHABLE = "engine_unreachable"
WENT_AWAY = "engine_went_away"

# Under the 5 s after which uvicorn, and so vLLM, closes an idle connection: a request sent into a
# connection that is just being closed would be lost.
_KEEP_ALIVE_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How long to wait for each step of a call, seconds."""

    connect: float = 5.0
    first_byte: float
    """From the request to the first byte of the answer's body."""
    idle: float
    """From one piece of the body to the next."""


class UpstreamResponse(Protocol):
    """An answer whose head has arrived."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers; look-up ignores case."""

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives, cut as the network cut it.

        Raises:
            EngineTimeoutError: the next piece did not come in time.
            EngineError: the engine went away before the end of the body.
        """

    def close(self) -> None:
        """End the call. Before the body's end, this closes the connection."""


class Upstream(Protocol):
    """A pool of connections to engines."""

    async def open(
        self, url: str, headers: Mapping[str, str], body: bytes, deadlines: Deadlines
    ) -> UpstreamResponse:
        """POST `body` to `url` and return the answer once its head is here.

        Raises:
            EngineTimeoutError: no answer in time.
            EngineError: with code UNREACHABLE nothing was sent; with WENT_AWAY, maybe.
        """


class AiohttpUpstream:
    """`Upstream` on aiohttp. Follows no redirects, knows no proxies, keeps no cookies."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            headers={"Accept-Encoding": "identity", "User-Agent": "strop"},
        )

    async def open(
        self, url: str, headers: Mapping[str, str], body: bytes, deadlines: Deadlines
    ) -> UpstreamResponse:
        """POST `body` to `url` and return the answer once its head is here."""
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=deadlines.connect, sock_read=deadlines.first_byte
        )
        with _translated():
            response = await self._session.post(
                url, data=body, headers=headers, timeout=timeout, allow_redirects=False
            )
        return _AiohttpResponse(response, deadlines.idle)

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()


class _AiohttpResponse:
    def __init__(self, response: aiohttp.ClientResponse, idle_seconds: float) -> None:
        self._response = response
        self._idle_seconds = idle_seconds

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._response.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        with _translated():
            async for chunk in self._response.content.iter_any():
                self._expect_the_next_within_idle()
                yield chunk

    def close(self) -> None:
        self._response.close()

    def _expect_the_next_within_idle(self) -> None:
        # After the last byte the connection is back in the pool already.
        connection = self._response.connection
        if connection is not None and connection.protocol is not None:
            connection.protocol.read_timeout = self._idle_seconds


@contextmanager
def _translated() -> Iterator[None]:
    """Turn aiohttp's exceptions into ours; the one place that knows them."""
    try:
        yield
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise EngineError("The engine cannot be reached.", code=UNREACHABLE) from error
    except aiohttp.ServerTimeoutError as error:
        raise EngineTimeoutError("The engine did not answer in time.") from error
    except (aiohttp.ClientError, OSError) as error:
        raise EngineError(
            "The engine went away before its answer ended.", code=WENT_AWAY
        ) from error
