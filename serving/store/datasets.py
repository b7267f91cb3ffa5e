"""Datasets, and the files that were imported."""

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from serving.errors import NotFoundError
from serving.store.learning import Dataset, Import
from serving.store.paging import WHOLE, Page, newest_first
from serving.store.tables import Alias


async def get_dataset(session: AsyncSession, dataset_id: int) -> Dataset:
    """Return one dataset.

    Raises:
        NotFoundError: there is none.
    """
    found = await session.get(Dataset, dataset_id)
    if found is None:
        raise NotFoundError(f"There is no dataset {dataset_id}. `strop datasets list` shows all.")
    return found


async def list_datasets(
    session: AsyncSession, alias: Alias | None = None, page: Page = WHOLE
) -> list[Dataset]:
    """Return the datasets of an alias, or all, newest first."""
    query = newest_first(select(Dataset), col(Dataset.id), page)
    if alias is not None:
        query = query.where(Dataset.alias_id == alias.id)
    return list(await session.exec(query))


async def list_imports(
    session: AsyncSession, alias: Alias | None = None, page: Page = WHOLE
) -> list[Import]:
    """Return the imports of an alias, or all, newest first."""
    query = newest_first(select(Import), col(Import.id), page)
    if alias is not None:
        query = query.where(Import.alias_id == alias.id)
    return list(await session.exec(query))
