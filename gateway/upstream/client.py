"""`Upstream` on sockets: a pool of connections, a call on one of them, its answer."""

import ssl
from collections.abc import Mapping
from typing import Final

from gateway.upstream.call import ask
from gateway.upstream.connection import Connection
from gateway.upstream.errors import went_away
from gateway.upstream.pool import ConnectionPool
from gateway.upstream.protocol import Deadlines, UpstreamResponse
from gateway.upstream.request import write_head
from serving.errors import EngineError
from serving.target import Target, parse_target

# Under the 5 s after which uvicorn, and so vLLM, closes an idle connection.
_IDLE_SECONDS: Final = 3.0
_MAX_IDLE: Final = 256


class SocketUpstream:
    """`Upstream` on connections of its own.

    HTTP/1.1 only. Follows no redirects, knows no proxies, keeps no cookies, decodes no encodings.
    """

    def __init__(
        self,
        *,
        idle_seconds: float = _IDLE_SECONDS,
        max_idle: int = _MAX_IDLE,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Begin with no connection; see ConnectionPool for the arguments."""
        self.pool = ConnectionPool(idle_seconds=idle_seconds, max_idle=max_idle, tls=tls)

    async def open(
        self, url: str, headers: Mapping[str, str], body: bytes, deadlines: Deadlines
    ) -> UpstreamResponse:
        """POST `body` to `url` and return the answer once its head is here."""
        target = parse_target(url)
        head = write_head(target, headers, len(body))
        connection = self.pool.take_idle(target.origin)
        if connection is None:
            connection = await self.pool.connect(target.origin, deadlines.connect)
        try:
            return await ask(self.pool, connection, head, body, deadlines)
        except EngineError:
            if not connection.lost_the_race:
                raise
        fresh = await self._connect_again(target, deadlines)
        return await ask(self.pool, fresh, head, body, deadlines)

    async def close(self) -> None:
        """Close every connection."""
        await self.pool.close()

    async def _connect_again(self, target: Target, deadlines: Deadlines) -> Connection:
        """Return a new connection for a request that an idle one lost.

        That one had answered before, and was closed within a moment of the request, without a byte
        in answer: that is how a server looks that closed it for idleness and never saw the request.
        Should it have seen it after all, it has hung up on it, and the work has ended with that.
        RFC 9112, 9.3.1 leaves it to who knows the request to send it again; a second generation of
        the same answer changes nothing. A connection made for the request is no such case.
        """
        try:
            return await self.pool.connect(target.origin, deadlines.connect)
        except EngineError as error:
            # Not UNREACHABLE, which promises that nothing was sent.
            raise went_away() from error
