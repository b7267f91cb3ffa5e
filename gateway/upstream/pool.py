"""The connections to every engine: those at work, and those kept open for the next call."""

import asyncio
import ssl
from collections import defaultdict, deque

from gateway.upstream.connection import Connection
from gateway.upstream.errors import connecting, unreachable
from serving.target import Origin


class ConnectionPool:
    """Idle connections by origin, the last one used first, so that the surplus grows old.

    How many are at work is not bounded here: who may call at all is decided before.
    """

    def __init__(
        self, *, idle_seconds: float, max_idle: int, tls: ssl.SSLContext | None = None
    ) -> None:
        """Keep at most `max_idle` connections to an origin, each for at most `idle_seconds`.

        `tls` says whom to trust; left out, whom this machine trusts.
        """
        self._idle_seconds = idle_seconds
        self._max_idle = max_idle
        self._tls = tls
        self._living: set[Connection] = set()
        self._idle: defaultdict[Origin, deque[Connection]] = defaultdict(deque)
        self._sweeper: asyncio.TimerHandle | None = None
        self._is_closed = False

    @property
    def num_living(self) -> int:
        """Open connections, at work or idle."""
        return len(self._living)

    @property
    def num_idle(self) -> int:
        """Connections kept for a next call."""
        return sum(len(idle) for idle in self._idle.values())

    def take_idle(self, origin: Origin) -> Connection | None:
        """Return an open connection that was used not long ago, if there is one."""
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if connection.is_fresh(self._idle_seconds):
                return connection
            connection.abort()
        return None

    async def connect(self, origin: Origin, seconds: float) -> Connection:
        """Make a new connection.

        Raises:
            EngineError: UNREACHABLE, for whatever reason, `seconds` being over among them.
        """
        with connecting():
            async with asyncio.timeout(seconds):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: Connection(origin, self._living),
                    origin.host,
                    origin.port,
                    ssl=self._trusted() if origin.is_tls else None,
                )
        if self._is_closed or not connection.is_usable:
            connection.abort()
            raise unreachable()
        self._living.add(connection)
        return connection

    def put_back(self, connection: Connection) -> None:
        """End a connection's call: keep it if it is fit for another one, else close it."""
        if not connection.finish() or self._is_closed:
            connection.abort()
            return
        idle = self._idle[connection.origin]
        idle.append(connection)
        if len(idle) > self._max_idle:
            idle.popleft().abort()
        if self._sweeper is None:
            self._sweep_later()

    async def close(self) -> None:
        """Close every connection, those at work too."""
        self._is_closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._idle.clear()
        living = list(self._living)
        for connection in living:
            connection.abort()
        await asyncio.gather(*(connection.wait_closed() for connection in living))

    def _sweep_later(self) -> None:
        # Twice per life, so that none is kept for much longer than it is good for.
        loop = asyncio.get_running_loop()
        self._sweeper = loop.call_later(self._idle_seconds / 2, self._sweep)

    def _sweep(self) -> None:
        """Close what has been idle for too long; come again while anything is idle."""
        self._sweeper = None
        for origin, idle in list(self._idle.items()):
            while idle and not idle[0].is_fresh(self._idle_seconds):
                idle.popleft().abort()
            if not idle:
                del self._idle[origin]
        if self._idle:
            self._sweep_later()

    def _trusted(self) -> ssl.SSLContext:
        """Return the TLS context, made when first needed: reading the certificates takes a while."""
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls
