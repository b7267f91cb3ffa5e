"""What a child printed: one file per child, kept over its restarts, the one before beside it."""

import logging
import os
import re
import shutil
from pathlib import Path

_logger = logging.getLogger("strop.serving")

_MAX_BYTES = 64 * 2**20

_TAIL_BYTES = 2**16
_LONGEST_WORDS = 500
# "(EngineCore pid=7) ERROR 11-22 15:46:05 [core.py:133] ValueError: ..." -> "ValueError: ..."
_ERROR = re.compile(r"(?:^|[\s\]])((?:[A-Za-z_]+\.)*[A-Za-z]*(?:Error|Exception): \S.*)$")
# vLLM's parent process reports its child's end with this; the cause was printed before it.
_NO_CAUSE = "Engine core initialization failed"


def rotate(log: Path) -> None:
    """Keep the last run's log as `<name>.log.1`, in place of the one before it."""
    if log.exists():
        log.replace(_before(log))


def shorten(log: Path, max_bytes: int = _MAX_BYTES) -> None:
    """Keep a log that has grown too long as `<name>.log.1`, and empty it.

    Its child goes on writing into the same file. What it writes during the copy is lost.
    """
    try:
        if log.stat().st_size > max_bytes:
            shutil.copyfile(log, _before(log))
            os.truncate(log, 0)
    except OSError as error:
        _logger.warning("The log %s cannot be shortened: %s", log, error)


def last_words(log: Path) -> str:
    """Return the last error in a log, else its last line: what a person should read first."""
    lines = [line.strip() for line in _tail(log).splitlines() if line.strip()]
    if not lines:
        return ""
    errors = [match[1] for line in lines if (match := _ERROR.search(line))]
    causes = [error for error in errors if _NO_CAUSE not in error]
    return (causes or errors or lines)[-1][:_LONGEST_WORDS]


def _before(log: Path) -> Path:
    return log.with_name(f"{log.name}.1")


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        return file.read().decode("utf-8", "replace")
