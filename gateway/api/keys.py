"""`/api/keys`: the same as `strop keys`."""

import msgspec
from litestar import Controller, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from gateway.api.access import require_admin
from gateway.operations import keys as operations
from gateway.operations.resources import Json, Resources
from gateway.policy.exceptions import FieldChange
from serving.routing.catalog import Quota
from serving.store.paging import Page
from serving.types import Role


class Limits(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """How much a key may use."""

    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None
    budget: int | None = None

    @property
    def given(self) -> dict[str, int]:
        """The limits that are named: not None."""
        limits = {name: getattr(self, name) for name in Limits.__struct_fields__}
        return {name: value for name, value in limits.items() if value is not None}


class NewKey(Limits, kw_only=True):
    """What a key is made from; None: as much as comes."""

    role: Role
    name: str
    tenant: str = "default"
    aliases: list[str] | None = None
    fields: FieldChange | None = None
    no_log: bool = False
    no_train: bool = False


class KeyChange(Limits, kw_only=True):
    """What of a key can be changed; None leaves it, a limit of 0 and empty aliases take it away."""

    role: Role | None = None
    name: str | None = None
    aliases: list[str] | None = None
    fields: FieldChange | None = None
    no_log: bool | None = None
    no_train: bool | None = None


class KeysController(Controller):
    """Make, list, show, set and revoke bearer keys."""

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
            aliases=data.aliases or (),
            quota=Quota(**data.given),
            fields=data.fields,
            no_log=data.no_log,
            no_train=data.no_train,
        )

    @get()
    async def list(
        self,
        resources: NamedDependency[Resources],
        page: NamedDependency[Page],
        tenant: FromQuery[str | None] = None,
    ) -> Json:
        """List keys, revoked ones too."""
        return await operations.list_keys(resources, tenant=tenant, page=page)

    @get("/{key_id:str}")
    async def show(self, resources: NamedDependency[Resources], key_id: FromPath[str]) -> Json:
        """Show a key: what it may, and what it used."""
        return await operations.show_key(resources, key_id)

    @patch("/{key_id:str}")
    async def set(
        self,
        resources: NamedDependency[Resources],
        key_id: FromPath[str],
        data: JSONBody[KeyChange],
    ) -> Json:
        """Change what is given."""
        return await operations.set_key(
            resources,
            key_id,
            role=data.role,
            name=data.name,
            aliases=data.aliases,
            limits=data.given,
            fields=data.fields,
            no_log=data.no_log,
            no_train=data.no_train,
        )

    @delete("/{key_id:str}", status_code=200)
    async def revoke(self, resources: NamedDependency[Resources], key_id: FromPath[str]) -> Json:
        """Revoke a key: every gateway worker refuses it within a second."""
        return await operations.revoke_key(resources, key_id)
