"""Folders that appear whole or not at all, also when the power is cut."""

import os
import shutil
from pathlib import Path


def publish(draft: Path, folder: Path) -> None:
    """Give a draft its name, once everything in it is on disk. What had the name gives way.

    Args:
        draft: files, in a folder beside the one to be; no folders among them.

    Raises:
        OSError: there is no room or no permission.
    """
    sync_all(draft)
    if folder.exists():
        shutil.rmtree(folder)
    draft.rename(folder)
    sync(folder.parent)


def sync_all(folder: Path) -> None:
    """Wait until a folder and the files in it are on disk."""
    for path in (*folder.iterdir(), folder):
        sync(path)


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's names, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
