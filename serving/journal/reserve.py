"""Space on the journal's disk that is set aside, so that what was begun can be ended when it is full."""

import os
from pathlib import Path
from tempfile import TemporaryFile


class Reserve:
    """A file without a name: its space comes back when it is let go of, or when the process ends.

    Raises:
        OSError: the folder takes no file.
    """

    def __init__(self, folder: Path, num_bytes: int) -> None:
        self._file = TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - open as long as we are
        self._num_bytes = num_bytes
        self.is_whole = num_bytes == 0

    def fill(self) -> None:
        """Set the space aside, if the disk has it."""
        if self.is_whole:
            return
        try:
            os.posix_fallocate(self._file.fileno(), 0, self._num_bytes)
            self.is_whole = True
        except OSError:
            self.let_go()  # of what there was

    def let_go(self) -> None:
        """Give the space to whoever writes next."""
        os.ftruncate(self._file.fileno(), 0)
        self.is_whole = self._num_bytes == 0

    def close(self) -> None:
        """Let go for good."""
        self._file.close()
