"""Who may call, and how much: bearer keys. The text is shown once; the table keeps its SHA-256."""

import base64
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from serving.errors import InvalidRequestError, NotFoundError
from serving.routing.catalog import UNLIMITED, Quota, digest_of
from serving.store.access import Key, check_limits
from serving.store.aliases import check_name, find_callable_alias
from serving.store.database import raise_revision
from serving.store.tables import utc_now
from serving.types import Role

PREFIX = "sk-strop-"
KEY_ID_PREFIX = "key_"
_MAX_LABEL = 128


async def create_key(
    session: AsyncSession,
    *,
    role: Role,
    tenant: str,
    name: str,
    aliases: Sequence[str] = (),
    quota: Quota = UNLIMITED,
    no_log: bool = False,
    no_train: bool = False,
) -> tuple[Key, str]:
    """Make a key; return its row and its text, which nobody can read again.

    Args:
        aliases: those that the key may call, the tenant's own or shared ones; empty: all of them.
        quota: how much it may use.
        no_log: requests of this key are not recorded (and so cannot train).
        no_train: requests of this key are recorded, but never trained on.

    Raises:
        InvalidRequestError: the tenant or the name cannot be one, a limit cannot be one, or a
            budget is set on what is not recorded.
        NotFoundError: the tenant has no such alias.
    """
    check_name("tenant", tenant)
    _check_label(name)
    check_limits(asdict(quota))
    _check_counted(quota.budget, no_log=no_log)
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
        no_log=no_log,
        no_train=no_train,
        **asdict(quota),
    )
    session.add(key)
    await session.flush()
    await raise_revision(session)
    return key, text


async def list_keys(session: AsyncSession) -> list[Key]:
    """Return every key, revoked ones too, oldest first."""
    return list(await session.exec(select(Key).order_by(col(Key.created_at), Key.id)))


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
    aliases: Sequence[str] | None = None,
    limits: Mapping[str, int] | None = None,
) -> Key:
    """Change what is given; every gateway worker knows within a second.

    Args:
        aliases: those that it may call from now on; empty: all of its tenant's and the shared ones.
        limits: `rpm`, `tpm`, `concurrency` or `budget` -> its new value; 0 takes the limit away.

    Raises:
        NotFoundError: there is no such key, or its tenant has no such alias.
        InvalidRequestError: a limit cannot be one.
    """
    key = await find_key(session, key_id, is_locked=True)
    given = {name: value or None for name, value in (limits or {}).items()}
    check_limits(given)
    _check_counted(given.get("budget"), no_log=key.no_log)
    if aliases is not None:
        for alias in aliases:
            await find_callable_alias(session, alias, key.tenant)
        key.aliases = sorted(set(aliases)) or None
    for name, value in given.items():
        setattr(key, name, value)
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


def _check_counted(budget: int | None, *, no_log: bool) -> None:
    if budget is not None and no_log:
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
