"""`/api/datasets`, `/api/runs` and `/api/evaluations`: the same as the commands of these names.

What reads or writes files, or takes minutes, is done by the command only.
"""

import msgspec
from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from gateway.operations import datasets, runs
from gateway.operations.evaluations import list_evaluations
from gateway.operations.resources import Json, Resources
from serving.routing.catalog import Principal
from serving.store.paging import Page


class NewRun(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What is to be trained, and on which dataset; None: on what there is."""

    alias: str
    tenant: str = "default"
    dataset: int | None = None


class DatasetsController(Controller):
    """List and show datasets."""

    path = "/datasets"

    @get()
    async def list(
        self,
        resources: NamedDependency[Resources],
        page: NamedDependency[Page],
        alias: FromQuery[str | None] = None,
        tenant: FromQuery[str] = "default",
    ) -> Json:
        """List datasets, evaluation sets and imports, all or those of one alias."""
        return await datasets.list_datasets(resources, alias, tenant, page)

    @get("/{number:int}")
    async def show(self, resources: NamedDependency[Resources], number: FromPath[int]) -> Json:
        """Show where a dataset's rows come from, and what was dropped."""
        return await datasets.show_dataset(resources, number)


class RunsController(Controller):
    """Begin, list, show and cancel training runs."""

    path = "/runs"

    @post()
    async def create(
        self,
        resources: NamedDependency[Resources],
        principal: NamedDependency[Principal],
        data: JSONBody[NewRun],
    ) -> Json:
        """Queue a run; a worker takes it up."""
        return await runs.start_run(
            resources, data.alias, data.tenant, actor=principal.key_id, dataset_id=data.dataset
        )

    @get()
    async def list(
        self,
        resources: NamedDependency[Resources],
        page: NamedDependency[Page],
        alias: FromQuery[str | None] = None,
        tenant: FromQuery[str] = "default",
    ) -> Json:
        """List runs, all or those of one alias."""
        return await runs.list_runs(resources, alias, tenant, page)

    @get("/{number:int}")
    async def show(self, resources: NamedDependency[Resources], number: FromPath[int]) -> Json:
        """Show a run, with the scores that it was judged by."""
        return await runs.show_run(resources, number)

    @post("/{number:int}/cancel", status_code=200)
    async def cancel(self, resources: NamedDependency[Resources], number: FromPath[int]) -> Json:
        """Ask for a run's end."""
        return await runs.cancel_run(resources, number)


@get("/evaluations")
async def evaluations(
    resources: NamedDependency[Resources],
    page: NamedDependency[Page],
    alias: FromQuery[str],
    tenant: FromQuery[str] = "default",
) -> Json:
    """Show what releases scored on the alias's newest evaluation set."""
    return await list_evaluations(resources, alias, tenant, page)
