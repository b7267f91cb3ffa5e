"""Build a dataset: gather, select, split, refuse what is too little, freeze.

A dataset never holds what an evaluation set holds. Where an alias has no evaluation set that could
carry a gate, the build makes one from the test part.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sqlmodel.ext.asyncio.session import AsyncSession

from retrain.collect import Gathering, gather, gather_evaluation
from retrain.examples import Example
from retrain.freeze import folder_of, save_dataset, write_files
from retrain.importing import add_evaluation_set
from retrain.sources import Gathered, select_rows
from retrain.split import MIN_TEST_ITEMS, Parts, place_rows, take_apart
from serving.errors import InvalidRequestError
from serving.ids import load_signer
from serving.settings import Settings
from serving.store.aliases import id_of
from serving.store.evaluations import lock_material, newest_set
from serving.store.learning import Dataset, EvaluationSet
from serving.store.releases import get_release
from serving.store.tables import Alias


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What there is to train an alias on, now: cleaned and split."""

    parts: Parts
    dropped: Counter[str]
    """Rows that do not train, by reason."""
    evaluation_set: EvaluationSet | None
    """The newest that can carry a gate; None: the test part becomes one."""


async def survey(session: AsyncSession, settings: Settings, alias: Alias) -> Material:
    """Gather, select and split what would train the alias. Takes seconds for 10,000 rows.

    Raises:
        ConfigurationError: the home has no sign.key, whose secret deals rows to parts.
    """
    key = load_signer(settings.sign_key).split_key()
    gathering = await gather(session, alias)
    evaluation = await gather_evaluation(session, alias)
    evaluation_set = await newest_set(session, id_of(alias), MIN_TEST_ITEMS)
    # Beside the event loop, which has engines and journals to look after.
    return await asyncio.to_thread(_divide, gathering, evaluation, evaluation_set, key)


async def build_dataset(session: AsyncSession, settings: Settings, alias: Alias) -> Dataset:
    """Freeze what there is into a dataset.

    Raises:
        InvalidRequestError: too few rows are left after cleaning; says how many are missing.
        ConfigurationError: the dataset's files cannot be written.
    """
    await lock_material(session, id_of(alias))
    material = await survey(session, settings, alias)
    _refuse_too_few(settings, material)
    evaluation_set = material.evaluation_set
    if evaluation_set is None:
        # As old as they are: a set that is built today is no evidence about today.
        held_back = [replace(row.example, at=row.at) for row in material.parts.test]
        evaluation_set = await add_evaluation_set(session, alias, held_back, "held back")
    assert alias.champion_id is not None
    system_prompt = (await get_release(session, alias.champion_id)).system_prompt
    facts = {
        "sources": _count_sources([*material.parts.train, *material.parts.valid]),
        "dropped": dict(sorted((+material.dropped).items())),
        "evaluation_set": {"number": evaluation_set.number, "digest": evaluation_set.digest},
    }
    manifest = await asyncio.to_thread(
        write_files, settings.dataset_dir, material.parts, system_prompt, facts
    )
    return await save_dataset(session, id_of(alias), material.parts, manifest, evaluation_set)


def dataset_folder(settings: Settings, dataset: Dataset) -> Path:
    """Return where a dataset's files are."""
    return folder_of(settings.dataset_dir, dataset.digest)


def _divide(
    gathering: Gathering,
    evaluation: Sequence[Sequence[Example]],
    evaluation_set: EvaluationSet | None,
    key: bytes,
) -> Material:
    selection = select_rows(gathering.rows, gathering.judgements, evaluation)
    placed = place_rows(selection.kept, key, wants_test=evaluation_set is None)
    parts, num_overlapping = take_apart(placed)
    return Material(
        parts=parts,
        dropped=gathering.left_out + selection.dropped + Counter(overlap=num_overlapping),
        evaluation_set=evaluation_set,
    )


def _count_sources(rows: Sequence[Gathered]) -> dict[str, int]:
    return dict(sorted(Counter(row.source.value for row in rows).items()))


def _refuse_too_few(settings: Settings, material: Material) -> None:
    needed, found = settings.learning.min_examples, len(material.parts.train)
    if found >= needed:
        return
    aside = {"validation": len(material.parts.valid), "the test": len(material.parts.test)}
    held = ", ".join(f"{count} for {part}" for part, count in aside.items() if count)
    dropped = ", ".join(f"{count} {reason}" for reason, count in material.dropped.items() if count)
    raise InvalidRequestError(
        f"{found} training rows are left after cleaning and splitting; {needed} are needed, "
        f"{needed - found} are missing (dropped: {dropped or 'none'}; held back: "
        f"{held or 'none'}). Import more with `strop datasets import`, or have more answers "
        "reviewed.",
        code="too_few_rows",
    )
