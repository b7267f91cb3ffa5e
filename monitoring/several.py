"""Metrics of several workers: a file of each worker and kind in one folder, added up by whoever is asked.

What a worker counted that has ended is added to one file for all of them, or the folder would grow
with every worker that ever was.
"""

import fcntl
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

logger = logging.getLogger("strop.monitoring")

_LOCK: Final = "lock"
_ENDED: Final = "ended"
_SUMS: Final = ("counter", "histogram")
_ROOM_BYTES: Final = 2**20


def render_all(folder: Path) -> bytes:
    """Return the exposition text of all workers, those that have ended among them."""
    with _alone(folder):
        _tidy(folder)
        everyone = CollectorRegistry()
        _AllWorkers(everyone, str(folder))  # type: ignore[no-untyped-call] # it has no annotations
        return generate_latest(everyone)


def tidy(folder: Path) -> None:
    """Take the files of workers that have ended together, if that can be done now."""
    try:
        with _alone(folder):
            _tidy(folder)
    except OSError:
        logger.exception("Metrics in %s could not be taken together", folder)


class _AllWorkers(MultiProcessCollector):
    """What every worker has written.

    A file that a worker has made and not yet filled would be taken for a broken one.
    """

    def collect(self) -> Iterable[Metric]:
        files = [str(path) for path in Path(self._path).glob("*.db") if path.stat().st_size]
        return cast(Iterable[Metric], self.merge(files))  # type: ignore[no-untyped-call]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep others from adding up or taking together meanwhile: nothing is counted twice, or missed."""
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _tidy(folder: Path) -> None:
    for path in folder.glob("*_*.db"):
        kind, _, owner = path.stem.rpartition("_")
        if owner == _ENDED or Path(f"/proc/{owner}").exists():
            continue
        # What a worker that has ended had in flight is gone; what all see alike, others tell.
        if kind not in _SUMS or _has_added(path, folder / f"{kind}_{_ENDED}.db"):
            path.unlink()


def _has_added(path: Path, ended: Path) -> bool:
    """Add a file's numbers to those of the ended; False: there is no room, and both stay."""
    num_bytes = path.stat().st_size
    if not num_bytes:
        return True
    needed = _ROOM_BYTES + 2 * (num_bytes + (ended.stat().st_size if ended.exists() else 0))
    if shutil.disk_usage(ended.parent).free < needed:  # it would be written into holes
        logger.warning("There is no room in %s to take metrics together", ended.parent)
        return False
    draft = ended.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    if ended.exists():
        shutil.copyfile(ended, draft)
    sums: Any = MmapedDict(str(draft))  # type: ignore[no-untyped-call]
    for key, value, *_ in MmapedDict.read_all_values_from_file(str(path)):  # type: ignore[no-untyped-call]
        sums.write_value(key, sums.read_value(key)[0] + value, 0.0)
    sums.close()
    draft.replace(ended)
    return True
