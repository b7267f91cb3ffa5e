"""Lineage: what `strop releases lineage` and its routes do and say."""

from gateway.operations.releases import describe_releases
from gateway.operations.resources import Json, Resources
from serving.store import aliases, releases
from serving.store import lineage as store
from serving.store.lineage import LineageRows
from serving.store.paging import WHOLE, Page


async def show_lineage(resources: Resources, name: str, tenant: str, number: int) -> Json:
    """Return what policy, scores and how many rows and people made a release; who promoted it."""
    async with resources.database.session() as session:
        alias = await aliases.find_alias(session, name, tenant)
        release = await releases.find_release(session, alias, number)
        (described,) = await describe_releases(session, [release])
        lineage = await store.read_lineage(session, aliases.id_of(release))
    return {"alias": alias.name, "tenant": alias.tenant, "release": described, **lineage}


async def list_lineage(
    resources: Resources,
    name: str,
    tenant: str,
    number: int,
    rows: LineageRows,
    page: Page = WHOLE,
) -> Json:
    """Return the imports, raters, reviewers or inferences that a release's rows are of."""
    async with resources.database.session() as session:
        alias = await aliases.find_alias(session, name, tenant)
        release = await releases.find_release(session, alias, number)
        found, cursor = await store.list_lineage(session, aliases.id_of(release), rows, page)
    return {
        "alias": alias.name,
        "tenant": alias.tenant,
        "release": number,
        rows.value: found,
        "next": cursor,
    }
