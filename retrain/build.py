"""Build a dataset: gather, select, split, refuse what is too little, freeze.

A dataset never holds what an evaluation set holds. Where an alias has no evaluation set yet, the
build makes its first one from the test part.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import msgspec
from sqlmodel.ext.asyncio.session import AsyncSession

from retrain.collect import gather_evaluation, gather_judgements, gather_rows
from retrain.freeze import Parts, save_dataset, write_files
from retrain.importing import add_evaluation_set
from retrain.sources import Gathered, Selection, select_rows
from retrain.split import place_rows
from serving.errors import InvalidRequestError
from serving.settings import Settings
from serving.store.aliases import id_of
from serving.store.evaluations import newest_set
from serving.store.learning import Dataset, EvaluationSet
from serving.store.releases import get_release
from serving.store.tables import Alias


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What there is to train an alias on, now."""

    selection: Selection
    system_prompt: str | None


async def survey(session: AsyncSession, alias: Alias) -> Material:
    """Gather and select the rows that would train the alias."""
    assert alias.champion_id is not None
    system_prompt = (await get_release(session, alias.champion_id)).system_prompt
    selection = select_rows(
        await gather_rows(session, alias, system_prompt),
        await gather_judgements(session, alias),
        await gather_evaluation(session, alias),
    )
    return Material(selection=selection, system_prompt=system_prompt)


async def build_dataset(session: AsyncSession, settings: Settings, alias: Alias) -> Dataset:
    """Freeze what there is into a dataset.

    Raises:
        InvalidRequestError: too few rows are left after cleaning; says how many are missing.
    """
    material = await survey(session, alias)
    evaluation_set = await newest_set(session, id_of(alias))
    train, valid, test = place_rows(
        material.selection.kept, split_key(settings), wants_test=evaluation_set is None
    )
    _refuse_too_few(settings, material.selection, len(train))
    if evaluation_set is None:
        examples = [row.example for row in test]
        evaluation_set = await add_evaluation_set(session, alias, examples, "held back")
    parts = Parts(train=train, valid=valid)
    return await _freeze(session, settings, alias, parts, material, evaluation_set)


def split_key(settings: Settings) -> bytes:
    """Return the secret that deals groups to parts: the home's first signing key."""
    return bytes.fromhex(settings.sign_key.read_text().split()[1])


def dataset_folder(settings: Settings, dataset: Dataset) -> Path:
    """Return where a dataset's files are."""
    return settings.dataset_dir / dataset.digest[:16]


async def _freeze(
    session: AsyncSession,
    settings: Settings,
    alias: Alias,
    parts: Parts,
    material: Material,
    evaluation_set: EvaluationSet,
) -> Dataset:
    draft = settings.dataset_dir / f".draft-{alias.id}"
    manifest = {
        "files": write_files(draft, parts, material.system_prompt),
        "sources": _count_sources([*parts.train, *parts.valid]),
        "dropped": dict(sorted(material.selection.dropped.items())),
        "evaluation_set": {"number": evaluation_set.number, "digest": evaluation_set.digest},
    }
    dataset = await save_dataset(session, id_of(alias), parts, manifest, evaluation_set)
    folder = dataset_folder(settings, dataset)
    (draft / "manifest.json").write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
    if not folder.exists():  # the same rows make the same folder
        draft.rename(folder)
    return dataset


def _count_sources(rows: list[Gathered]) -> dict[str, int]:
    return dict(sorted(Counter(row.source.value for row in rows).items()))


def _refuse_too_few(settings: Settings, selection: Selection, num_train: int) -> None:
    needed = settings.learning.min_examples
    if num_train >= needed:
        return
    dropped = ", ".join(f"{count} {reason}" for reason, count in selection.dropped.items() if count)
    raise InvalidRequestError(
        f"{num_train} training rows are left after cleaning and splitting; {needed} are needed, "
        f"{needed - num_train} are missing (dropped: {dropped or 'none'}). Import more with "
        "`strop datasets import`, or have more answers reviewed.",
        code="too_few_rows",
    )
