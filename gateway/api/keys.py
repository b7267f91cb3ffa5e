"""`/api/keys`: the same as `strop keys`."""

import msgspec
from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from gateway.api.access import require_admin
from gateway.operations import keys as operations
from gateway.operations.resources import Json, Resources
from serving.types import Role


class NewKey(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What a key is made from."""

    role: Role
    name: str
    tenant: str = "default"
    alias: str | None = None
    no_log: bool = False
    no_train: bool = False


class KeysController(Controller):
    """Make, list and revoke bearer keys."""

    path = "/keys"
    guards = (require_admin,)

    @post()
    async def create(self, resources: NamedDependency[Resources], data: JSONBody[NewKey]) -> Json:
        """Make a key; its text is in this answer, and nowhere else ever again."""
        return await operations.create_key(
            resources,
            role=data.role,
            tenant=data.tenant,
            name=data.name,
            alias=data.alias,
            no_log=data.no_log,
            no_train=data.no_train,
        )

    @get()
    async def list(
        self, resources: NamedDependency[Resources], tenant: FromQuery[str | None] = None
    ) -> Json:
        """List keys, revoked ones too."""
        return await operations.list_keys(resources, tenant=tenant)

    @delete("/{key_id:str}", status_code=200)
    async def revoke(self, resources: NamedDependency[Resources], key_id: FromPath[str]) -> Json:
        """Revoke a key: every gateway worker refuses it within a second."""
        return await operations.revoke_key(resources, key_id)
