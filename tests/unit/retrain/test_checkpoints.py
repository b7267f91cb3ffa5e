"""Checkpoints: whatever a death leaves behind, what is marked is whole."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from retrain.trainer.checkpoints import keep_checkpoint, newest_checkpoint


def write(folder: Path, step: int) -> Path:
    """Write a checkpoint, which nobody has marked yet."""
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir()
    for name in ("adapter_model.safetensors", "optimizer.pt", "trainer_state.json"):
        (checkpoint / name).write_text("whole")
    return checkpoint


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    """By the number of the step; a best one that is long ago stays."""
    best = write(tmp_path, 3)
    keep_checkpoint(best, best)
    for step in (6, 9, 12):
        keep_checkpoint(write(tmp_path, step), best)
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-12"
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-3", "checkpoint-12"}


def test_what_was_not_written_whole_is_removed(tmp_path: Path) -> None:
    """Killed before the mark: training goes on from the one before, or from its beginning."""
    write(tmp_path, 3)
    assert newest_checkpoint(tmp_path) is None
    first = write(tmp_path, 3)
    keep_checkpoint(first, first)
    write(tmp_path, 6)
    assert newest_checkpoint(tmp_path) == first
    assert list(tmp_path.iterdir()) == [first]


def test_a_death_in_the_middle_of_removing_leaves_nothing_half_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one before the newest was half removed: training goes on from the newest."""
    best = write(tmp_path, 3)
    keep_checkpoint(best, best)
    keep_checkpoint(write(tmp_path, 6), best)
    newest = write(tmp_path, 9)

    def remove_half(path: Path, *_: Any, **__: Any) -> None:
        (path / "optimizer.pt").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(shutil, "rmtree", remove_half)
        with pytest.raises(KeyboardInterrupt):
            keep_checkpoint(newest, best)
    assert newest_checkpoint(tmp_path) == newest
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-3", "checkpoint-9"}
