"""Datasets: what `strop datasets` and `/api/datasets` do and say.

Importing, building and exporting touch files and take seconds, so the command does them; `/api`
lists and shows.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from shutil import copyfile

from sqlmodel.ext.asyncio.session import AsyncSession

from gateway.operations.resources import Json, Resources
from retrain import build, importing
from retrain.freeze import verify_files
from serving.errors import InvalidRequestError
from serving.settings import Settings
from serving.store import aliases, datasets
from serving.store.evaluations import list_sets, numbers_of_sets
from serving.store.learning import Dataset, EvaluationSet, Import, Split
from serving.store.paging import WHOLE, Page, joined
from serving.store.tables import Alias


async def import_file(
    resources: Resources,
    name: str,
    tenant: str,
    path: Path,
    split: Split,
    *,
    actor: str,
    replaces: bool,
) -> Json:
    """Import a JSONL file whole, or refuse it whole; say what is still missing."""
    async with resources.database.session() as session:
        alias = await aliases.find_alias(session, name, tenant)
        imported = await importing.import_file(
            session, resources.settings, alias, path, split, actor=actor, replaces=replaces
        )
    made = imported.evaluation_set
    return {
        "alias": alias.name,
        "tenant": alias.tenant,
        "file": path.name,
        "split": split.value,
        "num_rows": imported.num_rows,
        "num_repeated": imported.num_repeated,
        "num_learnt": imported.num_learnt,
        "num_training_rows": imported.num_training_rows,
        "evaluation_set": describe_set(made) if made else None,
        "missing": list(imported.missing),
    }


async def build_dataset(resources: Resources, name: str, tenant: str) -> Json:
    """Freeze what there is into a dataset."""
    async with resources.database.session() as session:
        alias = await aliases.find_alias(session, name, tenant)
        made = await build.build_dataset(session, resources.settings, alias)
        return await _describe(session, made)


async def list_datasets(
    resources: Resources, name: str | None = None, tenant: str = "default", page: Page = WHOLE
) -> Json:
    """Return datasets, evaluation sets and imports, all or those of one alias, newest first.

    Args:
        page: of each of the three.
    """
    pages = page.split(3)
    async with resources.database.session() as session:
        alias = await aliases.find_alias(session, name, tenant) if name else None
        made = await datasets.list_datasets(session, alias, pages[0])
        sets = await list_sets(session, alias, pages[1])
        imports = await datasets.list_imports(session, alias, pages[2])
        numbers = await numbers_of_sets(session, {row.evaluation_set_id for row in made})
        listed: list[Dataset | EvaluationSet | Import] = [*made, *sets, *imports]
        owners = await aliases.aliases_by_id(session, {row.alias_id for row in listed})
    ids = ([row.id for row in made], [row.id for row in sets], [row.id for row in imports])
    return {
        "datasets": [
            {**_owner(owners[row.alias_id]), **describe_dataset(row, numbers)} for row in made
        ],
        "evaluation_sets": [{**_owner(owners[row.alias_id]), **describe_set(row)} for row in sets],
        "imports": [{**_owner(owners[row.alias_id]), **describe_import(row)} for row in imports],
        "next": joined([part.next_after(keys) for part, keys in zip(pages, ids, strict=True)]),
    }


async def show_dataset(resources: Resources, dataset_id: int) -> Json:
    """Return one dataset with its manifest: where its rows come from, and what was dropped."""
    async with resources.database.session() as session:
        found = await datasets.get_dataset(session, dataset_id)
        return {**await _describe(session, found), "manifest": found.manifest}


async def export_dataset(resources: Resources, dataset_id: int, folder: Path) -> Json:
    """Copy a dataset's files into a folder that is not there yet, or empty.

    Raises:
        NotFoundError: there is no such dataset.
        ConflictError: a file is not as it was frozen, or gone.
        InvalidRequestError: the folder is in use or cannot be written.
    """
    async with resources.database.session() as session:
        found = await datasets.get_dataset(session, dataset_id)
    names = await asyncio.to_thread(copy_files, resources.settings, found, folder)
    return {"id": found.id, "folder": str(folder), "files": names}


def copy_files(settings: Settings, dataset: Dataset, folder: Path) -> list[str]:
    """Copy what a dataset was frozen as; return the names. See `export_dataset`."""
    frozen = verify_files(settings.dataset_dir, dataset)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InvalidRequestError(f"{folder} is not empty. Name a new folder.")
        for file in frozen:
            copyfile(file, folder / file.name)
    except OSError as error:
        raise InvalidRequestError(f"{folder} cannot be written: {error.strerror}.") from error
    return [file.name for file in frozen]


def describe_dataset(row: Dataset, numbers: Mapping[int, int]) -> Json:
    """Return a dataset as callers see it.

    Args:
        numbers: of evaluation sets, by their ids.
    """
    return {
        "id": row.id,
        "digest": row.digest,
        "num_train": row.num_train,
        "num_valid": row.num_valid,
        "evaluation_set": row.evaluation_set_id and numbers[row.evaluation_set_id],
        "created_at": row.created_at.isoformat(),
    }


def describe_set(row: EvaluationSet) -> Json:
    """Return an evaluation set as callers see it."""
    return {
        "number": row.number,
        "num_items": row.num_items,
        "dated_at": row.dated_at.isoformat(),
        "digest": row.digest,
        "origin": row.origin,
        "created_at": row.created_at.isoformat(),
    }


def describe_import(row: Import) -> Json:
    """Return an import as callers see it."""
    return {
        "id": row.id,
        "file": row.name,
        "split": row.split.value,
        "num_rows": row.num_rows,
        "digest": row.digest,
        "actor": row.actor,
        "at": row.at.isoformat(),
        "replaced_at": row.replaced_at.isoformat() if row.replaced_at else None,
    }


async def _describe(session: AsyncSession, row: Dataset) -> Json:
    alias = await session.get_one(Alias, row.alias_id)
    numbers = await numbers_of_sets(session, {row.evaluation_set_id})
    return {**_owner(alias), **describe_dataset(row, numbers)}


def _owner(alias: Alias) -> Json:
    return {"alias": alias.name, "tenant": alias.tenant}
