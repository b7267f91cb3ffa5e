"""`/api/reviews`: sampled answers for people to judge.

A reviewer's key judges what its own tenant's aliases answered, and only some of them where it is
bound to those; an operator works for the house.
"""

import msgspec
from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from gateway.operations import reviews as operations
from gateway.operations.resources import Json, Resources
from serving.errors import NotFoundError
from serving.routing.catalog import Principal
from serving.store.learning import Verdict
from serving.types import Role


class WantedReview(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Whose answers a reviewer would judge."""

    alias: str
    tenant: str | None = None


class NewVerdict(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What a reviewer found; at most one of the two ways to say what would have been right."""

    verdict: Verdict
    corrected: str | None = None
    accept_demonstration: str | None = None


class ReviewsController(Controller):
    """Hand out what waits for a verdict, and take verdicts."""

    path = "/reviews"

    @post("/next", status_code=200)
    async def next(
        self,
        resources: NamedDependency[Resources],
        principal: NamedDependency[Principal],
        data: JSONBody[WantedReview],
    ) -> Json:
        """Claim the oldest answer that waits; `review` null: none does."""
        tenant = data.tenant or (principal.tenant if _is_bound(principal) else "default")
        _check_scope(principal, data.alias, tenant)
        return await operations.next_review(
            resources, data.alias, tenant, reviewer=principal.key_id
        )

    @post("/{inference_id:str}", status_code=200)
    async def submit(
        self,
        resources: NamedDependency[Resources],
        principal: NamedDependency[Principal],
        inference_id: FromPath[str],
        data: JSONBody[NewVerdict],
    ) -> Json:
        """Keep a verdict; only who gave it may change it."""
        return await operations.submit_review(
            resources,
            inference_id,
            reviewer=principal.key_id,
            verdict=data.verdict,
            corrected=data.corrected,
            accept_demonstration=data.accept_demonstration,
            tenant=principal.tenant if _is_bound(principal) else None,
            only_aliases=principal.aliases if _is_bound(principal) else None,
        )


def _is_bound(principal: Principal) -> bool:
    return principal.role is Role.REVIEWER


def _check_scope(principal: Principal, alias: str, tenant: str) -> None:
    """Refuse what is not for this key as if it were not there."""
    is_own = tenant == principal.tenant and principal.may_call(alias)
    if _is_bound(principal) and not is_own:
        raise NotFoundError(f"Tenant {tenant!r} has no alias {alias!r} that this key may review.")
