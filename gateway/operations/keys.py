"""Keys: what `strop keys` and `/api/keys` do and say."""

from collections.abc import Sequence
from typing import Any

from gateway.operations.resources import Json, Resources
from gateway.policy.exceptions import FieldChange, changed
from serving.routing.catalog import UNLIMITED, Exceptions, Quota
from serving.store import keys as store
from serving.store.access import Key, exceptions_of
from serving.store.paging import WHOLE, Page
from serving.store.usage import tokens_by_key, tokens_of_key
from serving.types import Role


async def create_key(
    resources: Resources,
    *,
    role: Role,
    tenant: str,
    name: str,
    aliases: Sequence[str] = (),
    quota: Quota = UNLIMITED,
    fields: FieldChange | None = None,
    no_log: bool = False,
    no_train: bool = False,
) -> Json:
    """Make a key; its text is in the answer, and nowhere else ever again."""
    async with resources.database.session() as session:
        key, text = await store.create_key(
            session,
            role=role,
            tenant=tenant,
            name=name,
            aliases=aliases,
            quota=quota,
            exceptions=changed(Exceptions(), fields or FieldChange()),
            no_log=no_log,
            no_train=no_train,
        )
        return {**describe_key(key, 0), "key": text}


async def list_keys(resources: Resources, *, tenant: str | None = None, page: Page = WHOLE) -> Json:
    """Return every key, or those of one tenant."""
    async with resources.database.session() as session:
        keys = await store.list_keys(session, tenant, page)
        used = await tokens_by_key(session)
    return {
        "keys": [describe_key(key, used.get(key.id, 0)) for key in keys],
        "next": page.next_after([key.id for key in keys]),
    }


async def show_key(resources: Resources, key_id: str) -> Json:
    """Return one key."""
    async with resources.database.session() as session:
        key = await store.find_key(session, key_id)
        return describe_key(key, await tokens_of_key(session, key.id))


async def set_key(
    resources: Resources, key_id: str, *, fields: FieldChange | None = None, **given: Any
) -> Json:
    """Change what is given; every gateway worker knows within a second.

    Args:
        resources: what operations work with.
        key_id: which.
        fields: what is to be special about its requests, besides what is so already.
        given: the arguments of `serving.store.keys.set_key`.
    """
    async with resources.database.session() as session:
        if fields is not None:
            key = await store.find_key(session, key_id, is_locked=True)
            given["exceptions"] = changed(exceptions_of(key.exceptions) or Exceptions(), fields)
        key = await store.set_key(session, key_id, **given)
        return describe_key(key, await tokens_of_key(session, key.id))


async def revoke_key(resources: Resources, key_id: str) -> Json:
    """Revoke a key; every gateway worker refuses it within a second."""
    async with resources.database.session() as session:
        key = await store.revoke_key(session, key_id)
        return describe_key(key, await tokens_of_key(session, key.id))


def describe_key(key: Key, num_tokens: int) -> Json:
    """Return a key as callers see it: all but its text.

    Args:
        num_tokens: what it used this month, as far as it is ingested.
    """
    return {
        "id": key.id,
        "tenant": key.tenant,
        "name": key.name,
        "role": key.role.value,
        "aliases": key.aliases,
        "rpm": key.rpm,
        "tpm": key.tpm,
        "concurrency": key.concurrency,
        "budget": key.budget,
        "tokens_this_month": num_tokens,
        "exceptions": key.exceptions,
        "no_log": key.no_log,
        "no_train": key.no_train,
        "created_at": key.created_at.isoformat(),
        "revoked_at": key.revoked_at.isoformat() if key.revoked_at else None,
    }
