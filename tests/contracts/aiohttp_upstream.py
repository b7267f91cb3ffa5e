"""`Upstream` on aiohttp: the reference that our own client is held against, in tests and benches."""

import io
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import aiohttp

from gateway.upstream.errors import UNREACHABLE, WENT_AWAY
from gateway.upstream.protocol import Deadlines, Taker, UpstreamResponse
from serving.errors import ConfigurationError, EngineError, EngineTimeoutError

# Under the 5 s after which uvicorn, and so vLLM, closes an idle connection.
_KEEP_ALIVE_SECONDS = 3.0


class AiohttpUpstream:
    """`Upstream` on aiohttp. Follows no redirects, knows no proxies, keeps no cookies."""

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, keepalive_timeout=_KEEP_ALIVE_SECONDS, ssl=tls or True
            ),
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
                url,
                data=io.BytesIO(body),  # it warns of long bytes
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
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

    async def read(self, taker: Taker | None = None) -> bytes:
        with _translated():
            piece = await self._response.content.readany()
        self._expect_the_next_within_idle()
        return piece

    def close(self) -> None:
        self._response.close()

    def _expect_the_next_within_idle(self) -> None:
        # After the last byte the connection is back in the pool already.
        connection = self._response.connection
        if connection is not None and connection.protocol is not None:
            connection.protocol.read_timeout = self._idle_seconds
            connection.protocol.start_timeout()  # the one that runs is still the first byte's


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
    except ValueError as error:
        raise ConfigurationError("The header cannot be sent to an engine.") from error
