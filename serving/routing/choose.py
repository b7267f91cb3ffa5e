"""Which release answers this request: pure, sticky, and with a known propensity."""

import re
from hashlib import blake2b

import msgspec

from serving.errors import ModelNotFoundError
from serving.routing.catalog import Alias, Catalog, Principal, Release
from serving.types import Arm, Role

_PINNED = re.compile(r"(?P<name>[^@]+)@(?P<number>[1-9][0-9]{0,8})")

_CALLERS = frozenset({Role.APP, Role.ADMIN})


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """A decision: `release` answers, as this arm, with this probability of having been chosen."""

    pool: str
    arm: Arm
    propensity: float
    alias: Alias | None = None
    release: Release | None = None
    """None: the pool's base model, called by its own name."""

    @property
    def adapter(self) -> str | None:
        """The adapter that answers; None: the base model."""
        return self.release.adapter if self.release else None


def choose(
    catalog: Catalog, bases: dict[str, str], principal: Principal, model: str, sticky: str
) -> Choice:
    """Choose what answers `model` for this caller.

    Args:
        catalog: keys and aliases as of now.
        bases: served name of a base model -> its pool.
        principal: who calls.
        model: the request's `model`: an alias, `alias@number`, or a base model's served name.
        sticky: what makes two requests belong together: `user`, conversation or key.

    Raises:
        ModelNotFoundError: no such model, or none that this caller may use. Nothing ever falls
            back to another model.
    """
    name, number = _split(model)
    alias = catalog.alias_for(principal.tenant, name)
    if alias is not None and _may_call(principal, alias.name):
        return _pinned(alias, number) if number else _sticky(alias, sticky)
    if alias is None and model in bases and _may_call_bases(principal):
        return Choice(pool=bases[model], arm=Arm.BASE, propensity=1.0)
    raise unknown_model(model)


def unknown_model(model: str) -> ModelNotFoundError:
    """The answer for a model that is not there, or not there for this caller."""
    return ModelNotFoundError(
        f"The model {model[:200]!r} does not exist or you do not have access to it. "
        "GET /v1/models lists yours.",
        param="model",
    )


def callable_models(catalog: Catalog, bases: dict[str, str], principal: Principal) -> list[str]:
    """Return the names that this caller may put into `model`, sorted."""
    own = {name for tenant, name in catalog.aliases if tenant == principal.tenant}
    names = {name for name in own | set(catalog.shared) if _may_call(principal, name)}
    return sorted(names | (set(bases) if _may_call_bases(principal) else set()))


def _split(model: str) -> tuple[str, int | None]:
    if "@" not in model:
        return model, None
    match = _PINNED.fullmatch(model)
    return (match["name"], int(match["number"])) if match else (model, None)


def _may_call(principal: Principal, alias_name: str) -> bool:
    return principal.role in _CALLERS and principal.may_call(alias_name)


def _may_call_bases(principal: Principal) -> bool:
    return principal.role in _CALLERS and principal.aliases is None


def _pinned(alias: Alias, number: int) -> Choice:
    for release in alias.releases:
        if release.number == number:
            return Choice(
                pool=release.pool, arm=Arm.PINNED, propensity=1.0, alias=alias, release=release
            )
    raise unknown_model(f"{alias.name}@{number}")


def _sticky(alias: Alias, sticky: str) -> Choice:
    share = alias.canary_percent / 100 if alias.challenger else 0.0
    if alias.challenger and position(alias.id, alias.canary_revision, sticky) < share:
        release, arm, propensity = alias.challenger, Arm.CHALLENGER, share
    else:
        release, arm, propensity = alias.champion, Arm.CHAMPION, 1 - share
    return Choice(pool=release.pool, arm=arm, propensity=propensity, alias=alias, release=release)


def position(alias_id: int, canary_revision: int, sticky: str) -> float:
    """Return where in [0, 1) a caller stands for one canary: uniform over callers, and fixed."""
    seed = f"{alias_id}/{canary_revision}/{sticky}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(seed, digest_size=8).digest(), "big") / 2**64
