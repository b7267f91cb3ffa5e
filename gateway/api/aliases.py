"""`/api/aliases`: the same as `strop aliases`, `strop promote` and `strop rollback`."""

import msgspec
from litestar import Controller, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from gateway.api.deadline import PATIENT
from gateway.operations import aliases as operations
from gateway.operations import releases
from gateway.operations.resources import Json, Resources
from serving.routing.catalog import Principal
from serving.types import Task


class NewAlias(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What an alias is made from."""

    name: str
    task: Task
    tenant: str = "default"
    pool: str | None = None
    system_prompt: str | None = None
    is_shared: bool = False


class AliasChange(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What of an alias can be changed; None leaves it."""

    task: Task | None = None
    is_shared: bool | None = None
    schedule: str | None = None
    zone: str | None = None
    budget: int | None = None


class NewPromotion(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Which release is to be the champion, and why."""

    release: int
    force: bool = False
    reason: str | None = None


class NewRollback(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Why the former champion is put back."""

    reason: str | None = None


class AliasesController(Controller):
    """Make, list, show and set aliases, and move what they serve."""

    path = "/aliases"

    @post()
    async def create(self, resources: NamedDependency[Resources], data: JSONBody[NewAlias]) -> Json:
        """Make an alias; its release 1, the pool's base model, serves at once."""
        return await operations.create_alias(
            resources,
            name=data.name,
            tenant=data.tenant,
            task=data.task,
            pool=data.pool,
            system_prompt=data.system_prompt,
            is_shared=data.is_shared,
        )

    @get()
    async def list(
        self, resources: NamedDependency[Resources], tenant: FromQuery[str | None] = None
    ) -> Json:
        """List aliases with what each of them serves."""
        return await operations.list_aliases(resources, tenant=tenant)

    @get("/{name:str}")
    async def show(
        self,
        resources: NamedDependency[Resources],
        name: FromPath[str],
        tenant: FromQuery[str] = "default",
    ) -> Json:
        """Show an alias and every flip of its champion."""
        return await operations.show_alias(resources, name, tenant)

    @patch("/{name:str}")
    async def set(
        self,
        resources: NamedDependency[Resources],
        name: FromPath[str],
        data: JSONBody[AliasChange],
        tenant: FromQuery[str] = "default",
    ) -> Json:
        """Change what is given."""
        return await operations.set_alias(
            resources,
            name,
            tenant,
            task=data.task,
            is_shared=data.is_shared,
            schedule=data.schedule,
            zone=data.zone,
            budget=data.budget,
        )

    @post("/{name:str}/pause", status_code=200)
    async def pause(
        self,
        resources: NamedDependency[Resources],
        name: FromPath[str],
        tenant: FromQuery[str] = "default",
    ) -> Json:
        """Let nothing be trained by itself any more; answers go on."""
        return await operations.pause_alias(resources, name, tenant, is_paused=True)

    @post("/{name:str}/resume", status_code=200)
    async def resume(
        self,
        resources: NamedDependency[Resources],
        name: FromPath[str],
        tenant: FromQuery[str] = "default",
    ) -> Json:
        """Let learning go on."""
        return await operations.pause_alias(resources, name, tenant, is_paused=False)

    @post("/{name:str}/promote", status_code=200, opt=PATIENT)
    async def promote(
        self,
        resources: NamedDependency[Resources],
        principal: NamedDependency[Principal],
        name: FromPath[str],
        data: JSONBody[NewPromotion],
        tenant: FromQuery[str] = "default",
    ) -> Json:
        """Make a release the champion: loaded and proved on every replica before the flip."""
        return await releases.promote(
            resources,
            name,
            tenant,
            data.release,
            actor=principal.key_id,
            reason=data.reason,
            is_forced=data.force,
        )

    @post("/{name:str}/rollback", status_code=200, opt=PATIENT)
    async def rollback(
        self,
        resources: NamedDependency[Resources],
        principal: NamedDependency[Principal],
        name: FromPath[str],
        data: JSONBody[NewRollback],
        tenant: FromQuery[str] = "default",
    ) -> Json:
        """Put the former champion back; doing it twice undoes it."""
        return await releases.rollback(
            resources, name, tenant, actor=principal.key_id, reason=data.reason
        )
