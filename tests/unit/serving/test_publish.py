"""A folder appears whole or not at all, and everything of it is on disk in time."""

import os
from pathlib import Path

import pytest

from serving.publish import publish


def write(folder: Path, content: str) -> Path:
    """Write a folder of two files."""
    folder.mkdir()
    for name in ("a", "b"):
        (folder / name).write_text(content)
    return folder


def test_what_has_the_name_gives_way(tmp_path: Path) -> None:
    """The new folder is there, the draft is not."""
    write(tmp_path / "folder", "old")
    publish(write(tmp_path / ".draft", "new"), tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    assert (tmp_path / "folder" / "a").read_text() == "new"


def test_files_are_on_disk_before_the_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut the power at any moment: what has the name is whole; once it returns, it stays."""
    synced = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    publish(write(tmp_path / ".draft", "new"), tmp_path / "folder")
    assert sorted(synced[:2]) == ["a", "b"]
    assert synced[2:] == [".draft", tmp_path.name]
