"""A dataset is built once, hashed, and never changed: files for the trainer, rows for lineage."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from sqlmodel.ext.asyncio.session import AsyncSession

from retrain.examples import Example, with_system
from retrain.sources import Gathered, Selection
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


def training_line(example: Example, system_prompt: str | None) -> bytes:
    """Return one row in TRL's conversational prompt-completion format, as serving will ask it."""
    turns = with_system(example.prompt, system_prompt)
    row: dict[str, Any] = {"prompt": turns, "completion": [example.answer]}
    if example.tools:
        row["tools"] = example.tools
    return msgspec.json.encode(row) + b"\n"


def write_files(folder: Path, parts: Parts, system_prompt: str | None) -> dict[str, str]:
    """Write train.jsonl and valid.jsonl; return the SHA-256 of each."""
    folder.mkdir(parents=True, exist_ok=True)
    digests = {}
    for part, rows in parts.by_part.items():
        content = b"".join(training_line(row.example, system_prompt) for row in rows)
        path = folder / f"{part}.jsonl"
        draft = path.with_suffix(".draft")
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        digests[path.name] = sha256(content).hexdigest()
    return digests


def describe(
    parts: Parts, selection: Selection, digests: dict[str, str], evaluation_set: EvaluationSet
) -> dict[str, Any]:
    """Return the manifest: what is in it, what was dropped and why, what it is judged on."""
    sources = Counter(row.source.value for row in [*parts.train, *parts.valid])
    return {
        "files": digests,
        "sources": dict(sorted(sources.items())),
        "dropped": dict(sorted(selection.dropped.items())),
        "evaluation_set": {"number": evaluation_set.number, "digest": evaluation_set.digest},
    }


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
