"""One call on a connection: the request written, its answer awaited and read."""

from gateway.upstream.connection import Connection
from gateway.upstream.headers import AnswerHeaders
from gateway.upstream.pool import ConnectionPool
from gateway.upstream.protocol import Deadlines, Taker
from gateway.upstream.request import write_pieces


class Response:
    """An answer on its way; at its end the pool has the connection back."""

    def __init__(self, pool: ConnectionPool, connection: Connection) -> None:
        self.status = connection.answer.status
        self.headers = AnswerHeaders(connection.answer.fields)
        self._pool = pool
        self._connection: Connection | None = connection

    async def read(self, taker: Taker | None = None) -> bytes:
        connection = self._connection
        if connection is None:
            return b""
        answer = connection.answer
        connection.expect_piece()
        try:
            while not answer.num_buffered and not answer.is_complete:
                await connection.wait(taker)
        except BaseException:
            self.close()
            raise
        piece = connection.take()
        if answer.is_complete:
            self.close()
        return piece

    def close(self) -> None:
        if self._connection is not None:
            self._pool.put_back(self._connection)
            self._connection = None


async def ask(
    pool: ConnectionPool, connection: Connection, head: bytes, body: bytes, deadlines: Deadlines
) -> Response:
    """Send a request, no faster than the engine reads; return its answer once the head is there.

    An engine may answer before it has read all, with a refusal: then the rest stays unsent.

    Raises:
        EngineTimeoutError: no head in time.
        EngineError: the engine went away, or sent no HTTP.
    """
    connection.begin(deadlines)
    answer = connection.answer
    try:
        for piece in write_pieces(head, body):
            while connection.is_writing_paused and not answer.is_head_complete:
                await connection.wait()
            if answer.is_head_complete:
                break
            connection.write(piece)
        else:
            connection.is_request_sent = True
        while not answer.is_head_complete:
            await connection.wait()
    except BaseException:
        connection.abort()
        raise
    return Response(pool, connection)
