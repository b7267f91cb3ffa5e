"""Lineage: what `strop releases lineage` and its route do and say."""

from gateway.operations.releases import describe_releases
from gateway.operations.resources import Json, Resources
from serving.store import aliases, releases
from serving.store.lineage import read_lineage


async def show_lineage(resources: Resources, name: str, tenant: str, number: int) -> Json:
    """Return which rows, raters, reviewers, policy and scores made a release, and who promoted it."""
    async with resources.database.session() as session:
        alias = await aliases.find_alias(session, name, tenant)
        release = await releases.find_release(session, alias, number)
        (described,) = await describe_releases(session, [release])
        lineage = await read_lineage(session, aliases.id_of(release))
    return {"alias": alias.name, "tenant": alias.tenant, "release": described, **lineage}
