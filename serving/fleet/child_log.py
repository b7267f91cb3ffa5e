"""What a child printed: one file per child, kept over its restarts, the one before beside it."""

import re
from pathlib import Path

_TAIL_BYTES = 2**16
_LONGEST_WORDS = 500
# "(EngineCore pid=7) ERROR 11-22 15:46:05 [core.py:133] ValueError: ..." -> "ValueError: ..."
_ERROR = re.compile(r"(?:^|[\s\]])((?:[A-Za-z_]+\.)*[A-Za-z]*(?:Error|Exception): \S.*)$")
# vLLM's parent process reports its child's end with this; the cause was printed before it.
_NO_CAUSE = "Engine core initialization failed"


def rotate(log: Path) -> None:
    """Keep the last run's log as `<name>.log.1`, in place of the one before it."""
    if log.exists():
        log.replace(log.with_name(f"{log.name}.1"))


def last_words(log: Path) -> str:
    """Return the last error in a log, else its last line: what a person should read first."""
    lines = [line.strip() for line in _tail(log).splitlines() if line.strip()]
    if not lines:
        return ""
    errors = [match[1] for line in lines if (match := _ERROR.search(line))]
    causes = [error for error in errors if _NO_CAUSE not in error]
    return (causes or errors or lines)[-1][:_LONGEST_WORDS]


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        return file.read().decode("utf-8", "replace")
