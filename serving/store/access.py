"""The tables of access: who may call, and how much was. As `tables.py`: prefix `strop_`, UTC.

key      a bearer key: whose it is, what it may call, and how much
usage    what one key used of one alias in one pool and month, counted as the journal is ingested
"""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Final

import msgspec
from sqlalchemy import JSON, BigInteger, DateTime
from sqlmodel import Field, SQLModel

from serving.errors import InvalidRequestError
from serving.routing.catalog import Exceptions
from serving.store.tables import utc_now, word
from serving.types import Role

_TIME: Any = DateTime(timezone=True)
_BIG: Any = BigInteger()
_JSON: Any = JSON(none_as_null=True)

_MAX_LIMITS: Final = {"rpm": 10**6, "tpm": 10**9, "concurrency": 10**5, "budget": 10**15}


class Key(SQLModel, table=True):
    """A bearer key; only its SHA-256 is kept."""

    __tablename__ = "strop_key"

    id: str = Field(primary_key=True, max_length=32)
    digest: str = Field(unique=True, max_length=64)
    tenant: str = Field(max_length=64)
    name: str = Field(max_length=128)
    role: Role = Field(sa_type=word(Role))
    aliases: list[str] | None = Field(default=None, sa_type=_JSON)
    """The aliases that this key may call; None: all of its tenant's and the shared ones."""
    rpm: int | None = None
    """Requests a minute; None, as for each of these limits: as many as come."""
    tpm: int | None = None
    """Tokens a minute, of prompts and answers together."""
    concurrency: int | None = None
    """Requests at once."""
    budget: int | None = Field(default=None, sa_type=_BIG)
    """Tokens a calendar month, UTC."""
    exceptions: dict[str, Any] | None = Field(default=None, sa_type=_JSON)
    """The fields of `Exceptions`; None: there are none."""
    no_log: bool = False
    no_train: bool = False
    created_at: datetime = Field(default_factory=utc_now, sa_type=_TIME)
    revoked_at: datetime | None = Field(default=None, sa_type=_TIME)


class Usage(SQLModel, table=True):
    """A sum over inferences, kept up to date in the transactions that write them."""

    __tablename__ = "strop_usage"

    month: date = Field(primary_key=True)
    """Its first day, UTC; an inference belongs to the month in which it began."""
    key_id: str = Field(primary_key=True, max_length=32)
    alias_id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    """0: the base model, called by its own name."""
    pool: str = Field(primary_key=True, max_length=63)
    tokens: int = Field(default=0, sa_type=_BIG)
    busy_ms: float = 0
    """The share of replicas' time, where that has a price."""


def exceptions_of(column: dict[str, Any] | None) -> Exceptions | None:
    """Return what is special about a key's requests, from its row's `exceptions`; None: nothing."""
    return None if column is None else msgspec.convert(column, Exceptions)


def to_column(exceptions: Exceptions) -> dict[str, Any] | None:
    """Return exceptions as a key's row has them."""
    is_empty = exceptions == Exceptions()
    return None if is_empty else msgspec.to_builtins(exceptions, order="sorted")


def check_limits(limits: Mapping[str, int | None]) -> None:
    """Refuse what cannot be a limit.

    Raises:
        InvalidRequestError: one is under 1, or more than anybody could use.
    """
    for name, value in limits.items():
        if value is not None and not 1 <= value <= _MAX_LIMITS[name]:
            raise InvalidRequestError(
                f"`{name}` is a number from 1 to {_MAX_LIMITS[name]}, not {value}.", param=name
            )
