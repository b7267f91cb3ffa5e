"""A dataset is built once, hashed, and never changed: files for the trainer, rows for lineage."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlmodel import insert
from sqlmodel.ext.asyncio.session import AsyncSession

from retrain.sources import Gathered
from retrain.spec import write_rows
from retrain.split import Parts
from serving.errors import ConfigurationError, ConflictError
from serving.publish import publish
from serving.store.learning import Dataset, DatasetRow, EvaluationSet, Part

MANIFEST: Final = "manifest.json"
_DIGITS: Final = 16


def write_files(
    root: Path, parts: Parts, system_prompt: str | None, facts: dict[str, Any]
) -> dict[str, Any]:
    """Write a dataset's folder: train.jsonl and valid.jsonl as trainers read them, manifest.json.

    The folder appears whole or not at all, under its digest: the same rows make the same folder.

    Args:
        root: where datasets are.
        facts: what else the manifest tells.

    Returns:
        The manifest, with the SHA-256 of each file.

    Raises:
        ConfigurationError: it cannot be written: no space, no permission.
    """
    try:
        with _draft(root) as draft:
            digests = {}
            for part, rows in _named(parts):
                path = draft / f"{part}.jsonl"
                write_rows(path, (row.example for row in rows), system_prompt)
                digests[path.name] = _digest(path)
            manifest = {"files": digests, **facts}
            (draft / MANIFEST).write_bytes(_text_of(manifest))
            folder = folder_of(root, digest_of(manifest))
            # There already, if the same rows were built before: a trainer may be reading them.
            if _find_change(folder, manifest):
                publish(draft, folder)
    except OSError as error:
        raise ConfigurationError(
            f"The dataset was not written to {root}: {error}. Nothing is left of it; see to "
            "permissions and space, then build it again."
        ) from error
    return manifest


def digest_of(manifest: dict[str, Any]) -> str:
    """Return what identifies a dataset: SHA-256 of its manifest, hexadecimal."""
    return sha256(msgspec.json.encode(manifest, order="sorted")).hexdigest()


def folder_of(root: Path, digest: str) -> Path:
    """Return the folder of the dataset with this digest."""
    return root / digest[:_DIGITS]


def verify_files(root: Path, dataset: Dataset) -> list[Path]:
    """Compute the hashes of a dataset's files again; return where they are.

    Raises:
        ConflictError: a file is missing or is not what was frozen.
    """
    folder = folder_of(root, dataset.digest)
    changed = _find_change(folder, dataset.manifest)
    if changed is not None:
        raise ConflictError(
            f"{changed} is not what was frozen as dataset {dataset.id}. Put it back from a copy, "
            "or build the dataset again.",
            code="dataset_changed",
        )
    return [folder / name for name in (*dataset.manifest["files"], MANIFEST)]


async def save_dataset(
    session: AsyncSession,
    alias_id: int,
    parts: Parts,
    manifest: dict[str, Any],
    evaluation_set: EvaluationSet,
) -> Dataset:
    """Record a dataset and the origin of each of its rows."""
    dataset = Dataset(
        alias_id=alias_id,
        digest=digest_of(manifest),
        num_train=len(parts.train),
        num_valid=len(parts.valid),
        manifest=manifest,
        evaluation_set_id=evaluation_set.id,
    )
    session.add(dataset)
    await session.flush()
    ordered = [(part, row) for part, rows in _named(parts) for row in rows]
    rows = [
        {
            "dataset_id": dataset.id,
            "position": position,
            "part": part,
            "source": row.source,
            "source_id": row.source_id,
            "content_hash": row.example.content_hash,
            "rater": row.rater,
            "reviewer": row.reviewer,
        }
        for position, (part, row) in enumerate(ordered)
    ]
    await session.exec(insert(DatasetRow), params=rows)
    return dataset


def _named(parts: Parts) -> tuple[tuple[Part, list[Gathered]], ...]:
    return (Part.TRAIN, list(parts.train)), (Part.VALID, list(parts.valid))


@contextmanager
def _draft(root: Path) -> Iterator[Path]:
    root.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=root))
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _text_of(manifest: dict[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest, order="sorted"))


def _find_change(folder: Path, manifest: dict[str, Any]) -> Path | None:
    """Return a file that is missing or not what its manifest says; None: all are as frozen."""
    digests = manifest["files"] | {MANIFEST: sha256(_text_of(manifest)).hexdigest()}
    paths = ((folder / name, digest) for name, digest in digests.items())
    changed = (path for path, digest in paths if not path.is_file() or _digest(path) != digest)
    return next(changed, None)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
