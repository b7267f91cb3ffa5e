"""Keys: what `strop keys` and `/api/keys` do and say."""

from gateway.operations.resources import Json, Resources
from serving.store import keys as store
from serving.store.tables import Key
from serving.types import Role


async def create_key(
    resources: Resources,
    *,
    role: Role,
    tenant: str,
    name: str,
    alias: str | None = None,
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
            alias=alias,
            no_log=no_log,
            no_train=no_train,
        )
        return {**describe_key(key), "key": text}


async def list_keys(resources: Resources, *, tenant: str | None = None) -> Json:
    """Return every key, or those of one tenant."""
    async with resources.database.session() as session:
        keys = await store.list_keys(session)
    return {"keys": [describe_key(key) for key in keys if tenant in (None, key.tenant)]}


async def revoke_key(resources: Resources, key_id: str) -> Json:
    """Revoke a key; every gateway worker refuses it within a second."""
    async with resources.database.session() as session:
        return describe_key(await store.revoke_key(session, key_id))


def describe_key(key: Key) -> Json:
    """Return a key as callers see it: all but its text."""
    return {
        "id": key.id,
        "tenant": key.tenant,
        "name": key.name,
        "role": key.role.value,
        "alias": key.alias,
        "no_log": key.no_log,
        "no_train": key.no_train,
        "created_at": key.created_at.isoformat(),
        "revoked_at": key.revoked_at.isoformat() if key.revoked_at else None,
    }
