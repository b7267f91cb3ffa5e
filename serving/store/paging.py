"""Lists by the page: so many rows at most, and a cursor that leads to the next ones."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

from sqlmodel.sql.expression import SelectOfScalar

from serving.errors import InvalidRequestError

Row = TypeVar("Row")

_NOTHING_LEFT = "0"
"""In the place of a list's cursor: its ids begin with 1."""


class Page(NamedTuple):
    """Which rows of a list are wanted."""

    limit: int | None = None
    """So many at most; None: all."""
    cursor: str | None = None
    """The `next` of the page before; None: from the first row on."""

    @property
    def last_id(self) -> int | None:
        """The id behind which this page begins, in a list by ids.

        Raises:
            InvalidRequestError: the cursor is of no such list.
        """
        if self.cursor is None:
            return None
        try:
            return int(self.cursor)
        except ValueError as error:
            raise _foreign(self.cursor) from error

    def split(self, num_lists: int) -> "list[Page]":
        """Return the pages of several lists that one cursor leads through.

        Raises:
            InvalidRequestError: the cursor is of other lists.
        """
        if self.cursor is None:
            return [self] * num_lists
        cursors = self.cursor.split(".")
        if len(cursors) != num_lists:
            raise _foreign(self.cursor)
        return [self._replace(cursor=cursor) for cursor in cursors]

    def next_after(self, keys: Sequence[object]) -> str | None:
        """Return what leads on from a page of rows with these keys; None: it was the last."""
        return str(keys[-1]) if self.limit is not None and len(keys) == self.limit else None


WHOLE = Page()


def joined(cursors: Sequence[str | None]) -> str | None:
    """Return the cursor that leads through several lists; None: nothing is left of any."""
    return ".".join(cursor or _NOTHING_LEFT for cursor in cursors) if any(cursors) else None


def newest_first(query: SelectOfScalar[Row], key: Any, page: Page) -> SelectOfScalar[Row]:
    """Return the query of a page, rows of higher ids first.

    Args:
        query: of the whole list.
        key: the column with the ids.
        page: which rows of it.

    Raises:
        InvalidRequestError: the cursor is of no such list.
    """
    query = query.order_by(key.desc()).limit(page.limit)
    return query if page.last_id is None else query.where(key < page.last_id)


def _foreign(cursor: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"{cursor[:80]!r} is no cursor of this list. Give the `next` of the page before.",
        param="cursor",
    )
