"""Exporting a dataset: what was frozen, or nothing."""

from pathlib import Path

import pytest

from gateway.operations.datasets import copy_files
from retrain.freeze import digest_of, folder_of, write_files
from retrain.split import Parts
from serving.errors import ConflictError, InvalidRequestError
from serving.settings import Settings
from serving.store.learning import Dataset

NAMES = ["train.jsonl", "valid.jsonl", "manifest.json"]


def freeze(settings: Settings) -> Dataset:
    """Write a dataset."""
    manifest = write_files(settings.dataset_dir, Parts(train=[], valid=[]), None, {})
    digest = digest_of(manifest)
    return Dataset(id=7, alias_id=1, digest=digest, num_train=0, num_valid=0, manifest=manifest)


def test_an_export_has_the_files_as_they_were_frozen(tmp_path: Path) -> None:
    """In a new folder, or an empty one; never among other files."""
    settings = Settings(home=tmp_path / "home")
    dataset = freeze(settings)
    assert copy_files(settings, dataset, tmp_path / "new") == NAMES
    for name in NAMES:
        frozen = folder_of(settings.dataset_dir, dataset.digest) / name
        assert (tmp_path / "new" / name).read_bytes() == frozen.read_bytes()
    with pytest.raises(InvalidRequestError, match="not empty"):
        copy_files(settings, dataset, tmp_path / "new")


@pytest.mark.parametrize("name", NAMES)
def test_what_was_changed_or_is_gone_is_not_exported(tmp_path: Path, name: str) -> None:
    """The trainer's own check refuses it."""
    settings = Settings(home=tmp_path / "home")
    dataset = freeze(settings)
    (folder_of(settings.dataset_dir, dataset.digest) / name).unlink()
    with pytest.raises(ConflictError, match=f"{name} is not what was frozen as dataset 7"):
        copy_files(settings, dataset, tmp_path / "new")
    assert not (tmp_path / "new").exists()
