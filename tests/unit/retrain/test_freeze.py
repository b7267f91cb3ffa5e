"""A dataset's folder: what is under its name is what was frozen."""

from pathlib import Path

import pytest

from retrain.freeze import digest_of, folder_of, verify_files, write_files
from retrain.split import Parts
from serving.errors import ConflictError
from serving.store.learning import Dataset

PARTS = Parts(train=[], valid=[], test=[])


def freeze(root: Path) -> tuple[Dataset, Path]:
    """Write a dataset; return it, and where it is."""
    manifest = write_files(root, PARTS, None, {"origin": "a test"})
    digest = digest_of(manifest)
    return Dataset(
        alias_id=1, digest=digest, num_train=0, num_valid=0, manifest=manifest
    ), folder_of(root, digest)


@pytest.mark.parametrize("name", ["train.jsonl", "valid.jsonl", "manifest.json"])
def test_a_folder_that_was_changed_is_written_anew(tmp_path: Path, name: str) -> None:
    """The same rows are built again: what somebody did to the folder meanwhile is mended."""
    dataset, folder = freeze(tmp_path)
    frozen = (folder / name).read_bytes()
    (folder / name).write_text("{}")
    with pytest.raises(ConflictError, match="not what was frozen"):
        verify_files(tmp_path, dataset)
    assert freeze(tmp_path)[1] == folder
    assert (folder / name).read_bytes() == frozen
    verify_files(tmp_path, dataset)


def test_a_folder_that_is_whole_stays(tmp_path: Path) -> None:
    """A trainer may be reading it."""
    _, folder = freeze(tmp_path)
    before = folder.stat().st_ino
    freeze(tmp_path)
    assert folder.stat().st_ino == before
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
