"""Who may call, and how much: bearer keys. The text is shown once; the table keeps its SHA-256."""

import base64
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, Final

from sqlalchemy import tuple_
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from serving.errors import InvalidRequestError, NotFoundError
from serving.routing.catalog import UNLIMITED, Exceptions, Quota, digest_of
from serving.store.access import Key, check_limits, to_column
from serving.store.aliases import check_name, find_callable_alias
from serving.store.database import raise_revision
from serving.store.paging import WHOLE, Page
from serving.store.tables import utc_now
from serving.types import Role

PREFIX = "sk-strop-"
KEY_ID_PREFIX = "key_"
_MAX_LABEL = 128
_LIMITS: Final = tuple(limit.name for limit in fields(Quota))


async def create_key(
    session: AsyncSession,
    *,
    role: Role,
    tenant: str,
    name: str,
    aliases: Sequence[str] = (),
    quota: Quota = UNLIMITED,
    exceptions: Exceptions | None = None,
    no_log: bool = False,
    no_train: bool = False,
) -> tuple[Key, str]:
    """Make a key; return its row and its text, which nobody can read again.

    Args:
        aliases: those that the key may call, the tenant's own or shared ones; empty: all of them.
        quota: how much it may use.
        exceptions: what it may ask that others may not, and the other way round.
        no_log: requests of this key are not recorded (and so cannot train).
        no_train: requests of this key are recorded, but never trained on.

    Raises:
        InvalidRequestError: the tenant or the name cannot be one, a limit cannot be one, or a
            budget is set on what is not recorded.
        NotFoundError: the tenant has no such alias.
    """
    check_name("tenant", tenant)
    _check({"name": name, "no_log": no_log, **asdict(quota)})
    for alias in aliases:
        await find_callable_alias(session, alias, tenant)
    text = PREFIX + secrets.token_urlsafe(32)
    key = Key(
        id=f"{KEY_ID_PREFIX}{_random_base32(10)}",
        digest=digest_of(text),
        tenant=tenant,
        name=name,
        role=role,
        aliases=sorted(set(aliases)) or None,
        exceptions=None if exceptions is None else to_column(exceptions),
        no_log=no_log,
        no_train=no_train,
        **asdict(quota),
    )
    session.add(key)
    await session.flush()
    await raise_revision(session)
    return key, text


async def list_keys(
    session: AsyncSession, tenant: str | None = None, page: Page = WHOLE
) -> list[Key]:
    """Return every key or those of one tenant, revoked ones too, oldest first."""
    query = select(Key).order_by(col(Key.created_at), Key.id).limit(page.limit)
    if tenant is not None:
        query = query.where(Key.tenant == tenant)
    if page.cursor is not None:
        last_at = select(Key.created_at).where(Key.id == page.cursor).scalar_subquery()
        query = query.where(tuple_(Key.created_at, Key.id) > tuple_(last_at, page.cursor))
    return list(await session.exec(query))


async def find_key(session: AsyncSession, key_id: str, *, is_locked: bool = False) -> Key:
    """Return a key, a revoked one too.

    Raises:
        NotFoundError: there is no such key.
    """
    key = await session.get(Key, key_id, with_for_update=is_locked, populate_existing=True)
    if key is None:
        raise NotFoundError(f"There is no key {key_id!r}. `strop keys list` shows all.")
    return key


async def set_key(
    session: AsyncSession,
    key_id: str,
    *,
    role: Role | None = None,
    name: str | None = None,
    aliases: Sequence[str] | None = None,
    limits: Mapping[str, int] | None = None,
    exceptions: Exceptions | None = None,
    no_log: bool | None = None,
    no_train: bool | None = None,
) -> Key:
    """Change what is given; every gateway worker knows within a second.

    The tenant stays: ids of inferences carry it, and a moved key could not rate its own.

    Args:
        role: what it may do from now on.
        name: what people recognise it by.
        aliases: those that it may call from now on; empty: all of its tenant's and the shared ones.
        limits: `rpm`, `tpm`, `concurrency` or `budget` -> its new value; 0 takes the limit away.
        exceptions: all that it has from now on; empty ones: it is a key like others.
        no_log: whether its requests go unrecorded.
        no_train: whether what is recorded of it is never trained on.

    Raises:
        NotFoundError: there is no such key, or its tenant has no such alias.
        InvalidRequestError: a limit or the name cannot be one, or a budget would be on what is not
            recorded.
    """
    key = await find_key(session, key_id, is_locked=True)
    words = {"role": role, "name": name, "no_log": no_log, "no_train": no_train}
    changes: dict[str, Any] = {word: value for word, value in words.items() if value is not None}
    changes |= {limit: value or None for limit, value in (limits or {}).items()}
    if aliases is not None:
        for alias in aliases:
            await find_callable_alias(session, alias, key.tenant)
        changes["aliases"] = sorted(set(aliases)) or None
    if exceptions is not None:
        changes["exceptions"] = to_column(exceptions)
    _check({**key.model_dump(), **changes})
    for column, value in changes.items():
        setattr(key, column, value)
    await session.flush()
    await raise_revision(session)
    return key


async def revoke_key(session: AsyncSession, key_id: str) -> Key:
    """Revoke a key for good; one that is revoked already stays as it is.

    Raises:
        NotFoundError: there is no such key.
    """
    key = await find_key(session, key_id, is_locked=True)
    if key.revoked_at is None:
        key.revoked_at = utc_now()
        await session.flush()
        await raise_revision(session)
    return key


def _check(key: Mapping[str, Any]) -> None:
    """Refuse what no key can be; `key` is its row, or as much of it as is given."""
    _check_label(key["name"])
    check_limits({limit: key[limit] for limit in _LIMITS})
    if key["budget"] is not None and key["no_log"]:
        raise InvalidRequestError(
            "A key whose requests are not recorded can have no budget: budgets are counted from "
            "the records. Limit its tokens a minute (tpm) instead.",
            param="budget",
        )


def _check_label(name: str) -> None:
    if not name.strip() or len(name) > _MAX_LABEL or not name.isprintable():
        raise InvalidRequestError(
            f"A key needs a name of 1 to {_MAX_LABEL} printable characters, "
            "so that people recognise it later.",
            param="name",
        )


def _random_base32(length: int) -> str:
    return base64.b32encode(secrets.token_bytes(length)).decode().lower()[:length]
