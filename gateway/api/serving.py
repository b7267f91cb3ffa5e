"""`/api/adapters`, `/api/releases` and `/api/status`: the same as the commands of these names.

Adapters come in by the command only: `/api` never takes a path.
"""

from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from gateway.api.deadline import PATIENT
from gateway.operations import adapters, releases
from gateway.operations.lineage import list_lineage, show_lineage
from gateway.operations.resources import Json, Resources
from gateway.operations.status import show_status
from serving.store.lineage import LineageRows
from serving.store.paging import Page


class AdaptersController(Controller):
    """List, show and verify adapters."""

    path = "/adapters"

    @get()
    async def list(
        self,
        resources: NamedDependency[Resources],
        alias: FromQuery[str | None] = None,
        tenant: FromQuery[str | None] = None,
    ) -> Json:
        """List adapters: all, those of one tenant, or those of one alias."""
        return await adapters.list_adapters(resources, alias, tenant)

    @get("/{name:str}")
    async def show(self, resources: NamedDependency[Resources], name: FromPath[str]) -> Json:
        """Show one adapter."""
        return await adapters.show_adapter(resources, name)

    @post("/{name:str}/verify", status_code=200, opt=PATIENT)
    async def verify(self, resources: NamedDependency[Resources], name: FromPath[str]) -> Json:
        """Compare an adapter's files with its manifest."""
        return await adapters.verify_adapter(resources, name)


class ReleasesController(Controller):
    """List and show what an alias has served, serves and may serve."""

    path = "/releases"

    @get()
    async def list(
        self,
        resources: NamedDependency[Resources],
        alias: FromQuery[str],
        tenant: FromQuery[str] = "default",
    ) -> Json:
        """List an alias's releases, newest first."""
        return await releases.list_releases(resources, alias, tenant)

    @get("/{number:int}")
    async def show(
        self,
        resources: NamedDependency[Resources],
        number: FromPath[int],
        alias: FromQuery[str],
        tenant: FromQuery[str] = "default",
    ) -> Json:
        """Show one release."""
        return await releases.show_release(resources, alias, tenant, number)

    @get("/{number:int}/lineage")
    async def lineage(
        self,
        resources: NamedDependency[Resources],
        number: FromPath[int],
        alias: FromQuery[str],
        tenant: FromQuery[str] = "default",
    ) -> Json:
        """Show what policy, scores and how many rows and people made a release."""
        return await show_lineage(resources, alias, tenant, number)

    @get("/{number:int}/lineage/{rows:str}")
    async def lineage_rows(
        self,
        resources: NamedDependency[Resources],
        page: NamedDependency[Page],
        number: FromPath[int],
        rows: FromPath[LineageRows],
        alias: FromQuery[str],
        tenant: FromQuery[str] = "default",
    ) -> Json:
        """List the imports, raters, reviewers or inferences that a release's rows are of."""
        return await list_lineage(resources, alias, tenant, number, rows, page)


@get("/status")
async def status(resources: NamedDependency[Resources]) -> Json:
    """Show what runs and what is served."""
    return await show_status(resources)
