"""A dataset is built once, hashed, and never changed: files for the trainer, rows for lineage."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from sqlmodel.ext.asyncio.session import AsyncSession

from retrain.sources import Gathered
from retrain.spec import write_rows
from serving.store.learning import Dataset, DatasetRow, EvaluationSet, Part


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A selection, split."""

    train: Sequence[Gathered]
    valid: Sequence[Gathered]

    @property
    def by_part(self) -> dict[Part, Sequence[Gathered]]:
        """The parts by their name."""
        return {Part.TRAIN: self.train, Part.VALID: self.valid}


def write_files(folder: Path, parts: Parts, system_prompt: str | None) -> dict[str, str]:
    """Write train.jsonl and valid.jsonl as trainers read them; return the SHA-256 of each."""
    folder.mkdir(parents=True, exist_ok=True)
    digests = {}
    for part, rows in parts.by_part.items():
        path = folder / f"{part}.jsonl"
        write_rows(path, (row.example for row in rows), system_prompt)
        digests[path.name] = sha256(path.read_bytes()).hexdigest()
    return digests


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
        digest=sha256(msgspec.json.encode(manifest, order="sorted")).hexdigest(),
        num_train=len(parts.train),
        num_valid=len(parts.valid),
        manifest=manifest,
        evaluation_set_id=evaluation_set.id,
    )
    session.add(dataset)
    await session.flush()
    assert dataset.id is not None
    ordered = [(part, row) for part, rows in parts.by_part.items() for row in rows]
    session.add_all(
        DatasetRow(
            dataset_id=dataset.id,
            position=position,
            part=part,
            source=row.source,
            source_id=row.source_id,
            content_hash=row.example.content_hash,
            rater=row.rater,
            reviewer=row.reviewer,
        )
        for position, (part, row) in enumerate(ordered)
    )
    await session.flush()
    return dataset
