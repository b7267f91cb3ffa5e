"""Reading an answer that fits into memory."""

from collections.abc import Callable

from gateway.upstream.protocol import UpstreamResponse


async def read_at_most(
    response: UpstreamResponse, max_bytes: int, got: Callable[[bytes], None] | None = None
) -> bytes:
    """Return the first `max_bytes` of an answer's body, or all of it.

    Args:
        response: its body is unread.
        max_bytes: what is read beyond is lost.
        got: told of every piece as it comes, whatever becomes of the rest.
    """
    pieces: list[bytes] = []
    num_bytes = 0
    while num_bytes < max_bytes and (piece := await response.read()):
        if got is not None:
            got(piece)
        pieces.append(piece)
        num_bytes += len(piece)
    return pieces[0][:max_bytes] if len(pieces) == 1 else b"".join(pieces)[:max_bytes]
