"""The folder in which the workers of one gateway add up their metrics; no process leaves it for long."""

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from serving.journal.segments import hold

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - what is made there is ours alone
_ROOM_BYTES: Final = 32 * 2**20
"""Half of what containers have of it. Each worker that ever was takes 0.3 MiB, and more with many aliases."""
_SESSIONS: Final = Path("/run/systemd/users")
_FIRST_PERSON: Final = 1000
"""When somebody's last session ends, systemd-logind deletes what is theirs in memory (RemoveIPC), of
users from this id on: a gateway under nohup or tmux would lose its folder."""
_PREFIX: Final = "strop-metrics-"
_FRESH_SECONDS: Final = 60


@contextmanager
def shared_metrics(home: Path) -> Iterator[Path]:
    """Give the workers to come one empty folder for their metrics, which is gone with them.

    In memory where that has room: their files are mapped and have holes, and who writes into a hole
    of a full disk is killed. Who is killed leaves its folder unlocked, for the next one to remove.
    """
    # Imported here, like all that loads prometheus_client: it reads its environment at import.
    from monitoring.metrics import MULTIPROCESS_VARIABLE

    for parent in (_MEMORY, home):
        _remove_left(parent)
    parent = _MEMORY if _may_use(_MEMORY) else home
    with (
        tempfile.TemporaryDirectory(
            prefix=_PREFIX, dir=parent, ignore_cleanup_errors=True
        ) as folder,
        hold(Path(folder)),
    ):
        os.environ[MULTIPROCESS_VARIABLE] = folder
        yield Path(folder)


def _remove_left(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # its gateway has just ended
            if _is_ours(folder.lstat()):
                _remove_unheld(folder)


def _is_ours(found: os.stat_result) -> bool:
    """Whether we made it, and not just now: until it is locked, a folder looks left. In memory
    anybody may put anything under such a name.
    """
    is_fresh = time.time() - found.st_mtime < _FRESH_SECONDS
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not is_fresh


def _remove_unheld(folder: Path) -> None:
    with hold(folder) as is_left:
        if is_left:
            shutil.rmtree(folder, ignore_errors=True)


def _may_use(folder: Path) -> bool:
    if os.getuid() >= _FIRST_PERSON and _SESSIONS.is_dir():
        return False
    try:
        has_room = shutil.disk_usage(folder).free >= _ROOM_BYTES
    except OSError:  # no such thing here
        return False
    return has_room and os.access(folder, os.W_OK | os.X_OK)
