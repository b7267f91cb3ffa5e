"""Checkpoints: marked once they are whole, unmarked before they are removed. Pure files, no torch."""

import shutil
from pathlib import Path

from serving.publish import sync_all

_NAMES = "checkpoint-*"
_WHOLE = "complete"
"""The file that a checkpoint has as long as all of it is there."""


def keep_checkpoint(checkpoint: Path, best: Path) -> None:
    """Mark a checkpoint as whole; then remove the others, but for the best one.

    At any moment of it there is a whole one to go on from.

    Args:
        checkpoint: all of it is written.
        best: what the training will end with.
    """
    sync_all(checkpoint)  # the mark is not to outlive a power cut that its files do not
    (checkpoint / _WHOLE).touch()
    for other in checkpoint.parent.glob(_NAMES):
        if other.name not in (checkpoint.name, best.name):
            _remove(other)


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the newest whole checkpoint, and remove what a crash cut short."""
    whole = []
    for checkpoint in folder.glob(_NAMES):
        if (checkpoint / _WHOLE).exists():
            whole.append(checkpoint)
        else:
            _remove(checkpoint)
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def _remove(checkpoint: Path) -> None:
    (checkpoint / _WHOLE).unlink(missing_ok=True)
    shutil.rmtree(checkpoint)
