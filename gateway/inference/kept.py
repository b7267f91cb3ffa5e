"""What came from the engine, as far as a record can hold it."""


class Kept:
    """Keeps the first bytes of an answer, and lets go of those that no record would take.

    Bytes and not the pieces: a stream of many small ones takes no more memory than a long one.

    Args:
        most: what is added when so many bytes are here is dropped. The piece that passes it is kept
            whole, so the writer of the journal, which takes no more than this with all else that a
            record holds, cuts and marks what was dropped from just as it would all of it.
    """

    __slots__ = ("_bytes", "_most")

    def __init__(self, most: int) -> None:
        self._bytes = bytearray()
        self._most = most

    def add(self, piece: bytes) -> None:
        """Keep a piece, if there is room. Called for every token: 0.1 microseconds."""
        if len(self._bytes) < self._most:
            self._bytes += piece

    def content(self) -> bytes:
        """Return what was kept."""
        return bytes(self._bytes)
