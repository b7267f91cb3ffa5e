"""Pages of a list: each row on one of them, whatever the limit."""

import pytest

from serving.errors import InvalidRequestError
from serving.settings import Settings
from serving.store.aliases import create_alias, id_of
from serving.store.database import Database
from serving.store.datasets import list_datasets
from serving.store.learning import Dataset
from serving.store.paging import WHOLE, Page, joined
from serving.types import Task


async def test_every_row_is_on_one_page(database: Database, settings: Settings) -> None:
    """Newest first; a last page that is full leads to an empty one."""
    async with database.session() as session:
        alias = await create_alias(session, settings, name="a", tenant="t", task=Task.CHAT)
        for number in range(4):
            session.add(
                Dataset(
                    alias_id=id_of(alias), digest=str(number), num_train=0, num_valid=0, manifest={}
                )
            )
            await session.flush()
        page, pages = Page(limit=2), []
        for _ in range(3):
            ids = [row.id for row in await list_datasets(session, alias, page)]
            pages.append(ids)
            page = Page(limit=2, cursor=page.next_after(ids))
        assert pages == [[4, 3], [2, 1], []]
        assert [row.id for row in await list_datasets(session, alias, WHOLE)] == [4, 3, 2, 1]


def test_one_cursor_leads_through_several_lists() -> None:
    """One that has ended stays so while others go on; when all have, nothing leads on."""
    first, second = Page(limit=2, cursor=joined(["7", None])).split(2)
    assert (first.last_id, second.last_id) == (7, 0)
    assert joined([None, None]) is None
    assert WHOLE.split(2) == [WHOLE, WHOLE]


@pytest.mark.parametrize("cursor", ["", "x", "1.2", "1.2.3.4"])
def test_a_foreign_cursor_is_refused(cursor: str) -> None:
    """A row that is skipped for it would be missed by nobody."""
    page = Page(limit=2, cursor=cursor)
    with pytest.raises(InvalidRequestError, match="no cursor of this list"):
        page.last_id  # noqa: B018 - it raises
    with pytest.raises(InvalidRequestError, match="no cursor of this list"):
        page.split(3)
