"""Who may call: bearer keys. The text is shown once; the table keeps its SHA-256."""

import base64
import secrets

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from serving.errors import InvalidRequestError, NotFoundError
from serving.routing.catalog import digest_of
from serving.store.aliases import check_name, find_callable_alias
from serving.store.database import raise_revision
from serving.store.tables import Key, utc_now
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
    alias: str | None = None,
    no_log: bool = False,
    no_train: bool = False,
) -> tuple[Key, str]:
    """Make a key; return its row and its text, which nobody can read again.

    Args:
        alias: the one alias that the key may call, the tenant's own or a shared one.
        no_log: requests of this key are not recorded (and so cannot train).
        no_train: requests of this key are recorded, but never trained on.

    Raises:
        InvalidRequestError: the tenant or the name cannot be one.
        NotFoundError: the tenant has no such alias.
    """
    check_name("tenant", tenant)
    _check_label(name)
    if alias is not None:
        await find_callable_alias(session, alias, tenant)
    text = PREFIX + secrets.token_urlsafe(32)
    key = Key(
        id=f"{KEY_ID_PREFIX}{_random_base32(10)}",
        digest=digest_of(text),
        tenant=tenant,
        name=name,
        role=role,
        alias=alias,
        no_log=no_log,
        no_train=no_train,
    )
    session.add(key)
    await session.flush()
    await raise_revision(session)
    return key, text


async def list_keys(session: AsyncSession) -> list[Key]:
    """Return every key, revoked ones too, oldest first."""
    return list(await session.exec(select(Key).order_by(col(Key.created_at), Key.id)))


async def revoke_key(session: AsyncSession, key_id: str) -> Key:
    """Revoke a key for good; one that is revoked already stays as it is.

    Raises:
        NotFoundError: there is no such key.
    """
    key = await session.get(Key, key_id, with_for_update=True, populate_existing=True)
    if key is None:
        raise NotFoundError(f"There is no key {key_id!r}. `strop keys list` shows all.")
    if key.revoked_at is None:
        key.revoked_at = utc_now()
        await session.flush()
        await raise_revision(session)
    return key


def _check_label(name: str) -> None:
    if not name.strip() or len(name) > _MAX_LABEL or not name.isprintable():
        raise InvalidRequestError(
            f"A key needs a name of 1 to {_MAX_LABEL} printable characters, "
            "so that people recognise it later.",
            param="name",
        )


def _random_base32(length: int) -> str:
    return base64.b32encode(secrets.token_bytes(length)).decode().lower()[:length]
