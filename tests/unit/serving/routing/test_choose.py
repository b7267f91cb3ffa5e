"""Who is answered by what: sticky, with the propensity that was really used, and never by chance."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import ModelNotFoundError
from serving.routing.catalog import Alias, Catalog, Principal, Release
from serving.routing.choose import callable_models, choose, position
from serving.types import Arm, Role, Task
from tests.scale import examples

BASES = {"base": "small", "base-large": "large"}
CHAMPION = Release(id=12, number=2, pool="small", adapter="support-v2")
CHALLENGER = Release(id=13, number=3, pool="large", adapter="support-v3")
PREVIOUS = Release(id=11, number=1, pool="small")


def _alias(
    *, number: int = 1, tenant: str = "acme", name: str = "support", **facts: object
) -> Alias:
    told: dict[str, object] = {"champion": CHAMPION, "task": Task.CHAT, **facts}
    return Alias(id=number, tenant=tenant, name=name, **told)  # type: ignore[arg-type]


def _catalog(*aliases: Alias) -> Catalog:
    return Catalog(
        aliases={(alias.tenant, alias.name): alias for alias in aliases},
        shared={alias.name: alias for alias in aliases if alias.is_shared},
    )


def _caller(*, tenant: str = "acme", role: Role = Role.APP, alias: str | None = None) -> Principal:
    aliases = frozenset({alias, "another"}) if alias else None
    return Principal(key_id="key_a", tenant=tenant, role=role, aliases=aliases)


CANARY = _catalog(
    _alias(challenger=CHALLENGER, previous=PREVIOUS, canary_percent=25, canary_revision=4)
)


def test_without_a_canary_the_champion_answers() -> None:
    """With certainty; a challenger without a share gets nothing."""
    for catalog in (_catalog(_alias()), _catalog(_alias(challenger=CHALLENGER))):
        for number in range(200):
            choice = choose(catalog, BASES, _caller(), "support", f"user-{number}")
            assert (choice.release, choice.arm, choice.propensity) == (CHAMPION, Arm.CHAMPION, 1)
            assert (choice.pool, choice.adapter) == ("small", "support-v2")


@given(sticky=st.text(st.characters(), max_size=30))
def test_a_caller_stays_where_it_was_dealt(sticky: str) -> None:
    """Same caller, same canary: same release, whatever the text; surrogates do not break it."""
    first = choose(CANARY, BASES, _caller(), "support", sticky)
    assert choose(CANARY, BASES, _caller(), "support", sticky) == first
    assert 0 <= position(1, 4, sticky) < 1
    assert (first.release, first.arm, first.propensity, first.pool) in (
        (CHAMPION, Arm.CHAMPION, 0.75, "small"),
        (CHALLENGER, Arm.CHALLENGER, 0.25, "large"),
    )


@given(percent=st.sampled_from([1, 10, 25, 50, 90]), revision=st.integers(0, 1000))
@settings(max_examples=examples(10, full=100))
def test_the_propensity_is_the_share_observed(percent: float, revision: int) -> None:
    """Of 4,000 callers the challenger gets its share, within 5 standard deviations."""
    catalog = _catalog(
        _alias(challenger=CHALLENGER, canary_percent=percent, canary_revision=revision)
    )
    choices = [choose(catalog, BASES, _caller(), "support", f"u{n}") for n in range(4000)]
    share = sum(choice.arm is Arm.CHALLENGER for choice in choices) / 4000
    slack = 5 * (percent / 100 * (1 - percent / 100) / 4000) ** 0.5
    assert abs(share - percent / 100) < slack
    for choice in choices:
        told = percent / 100 if choice.arm is Arm.CHALLENGER else 1 - percent / 100
        assert choice.propensity == told


def test_a_growing_canary_takes_nobody_back() -> None:
    """Within one revision, whoever has the challenger keeps it when the share rises."""
    for number in range(500):
        arms = [
            choose(
                _catalog(_alias(challenger=CHALLENGER, canary_percent=percent)),
                BASES,
                _caller(),
                "support",
                f"u{number}",
            ).arm
            for percent in (10, 25, 50, 100)
        ]
        assert arms == sorted(arms, key=(Arm.CHAMPION, Arm.CHALLENGER).index)
        assert arms[-1] is Arm.CHALLENGER


def test_a_new_revision_deals_anew() -> None:
    """So that the same people are not the subjects of every canary; nor are two aliases alike."""
    low = {n for n in range(2000) if position(1, 1, f"u{n}") < 0.5}
    for other in ((1, 2), (2, 1)):
        again = {n for n in range(2000) if position(*other, f"u{n}") < 0.5}
        assert 350 < len(low & again) < 650


@pytest.mark.parametrize(
    ("model", "release"),
    [("support@1", PREVIOUS), ("support@2", CHAMPION), ("support@3", CHALLENGER)],
)
def test_a_pinned_release_answers_for_certain(model: str, release: Release) -> None:
    """Champion, challenger and previous are loaded, so they can be named."""
    choice = choose(CANARY, BASES, _caller(), model, "anybody")
    assert (choice.release, choice.arm, choice.propensity) == (release, Arm.PINNED, 1)
    assert choice.pool == release.pool


@pytest.mark.parametrize(
    "model",
    [
        "support@4",
        "support@0",
        "support@02",
        "support@-1",
        "support@",
        "support@2@2",
        "support@two",
        "support@9999999999999",
        "support ",
        "support@2\n",
        "Support",
        "support-v2",
        "base@1",
        "nothing",
        "",
        "@",
        "small",
    ],
)
def test_nothing_falls_back_to_another_model(model: str) -> None:
    """An adapter's own name, an unknown release, a near miss: 404, and the mend."""
    with pytest.raises(ModelNotFoundError, match="/v1/models") as caught:
        choose(CANARY, BASES, _caller(), model, "anybody")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_the_base_is_called_by_its_own_name() -> None:
    """It has no alias and no release; it is the pool's model as it is."""
    choice = choose(CANARY, BASES, _caller(), "base-large", "anybody")
    assert (choice.pool, choice.arm, choice.propensity) == ("large", Arm.BASE, 1)
    assert (choice.alias, choice.release, choice.adapter) == (None, None, None)


def test_the_own_alias_comes_before_the_shared_one() -> None:
    """A tenant's own name means its own alias, whatever others share."""
    own = _alias(number=1, tenant="acme")
    shared = _alias(number=2, tenant="other", is_shared=True)
    catalog = _catalog(own, shared)
    assert choose(catalog, BASES, _caller(), "support", "u").alias == own
    assert choose(catalog, BASES, _caller(tenant="third"), "support", "u").alias == shared


def test_other_tenants_aliases_are_unknown() -> None:
    """Not shared: the same 404 as for a name that nobody has, pinned or not, to admins too."""
    catalog = _catalog(_alias(tenant="other"))
    messages = set()
    for model in ("support", "support@2", "nothing"):
        for role in (Role.APP, Role.ADMIN):
            with pytest.raises(ModelNotFoundError) as caught:
                choose(catalog, BASES, _caller(role=role), model, "u")
            messages.add(caught.value.message.replace(model, "MODEL"))
    assert len(messages) == 1


def test_a_restricted_key_calls_its_alias_only() -> None:
    """Neither another alias nor a base model."""
    catalog = _catalog(_alias(), _alias(number=2, name="sales"))
    caller = _caller(alias="support")
    assert choose(catalog, BASES, caller, "support", "u").release == CHAMPION
    assert choose(catalog, BASES, caller, "support@2", "u").arm is Arm.PINNED
    for model in ("sales", "sales@2", "base"):
        with pytest.raises(ModelNotFoundError):
            choose(catalog, BASES, caller, model, "u")


@pytest.mark.parametrize("role", [Role.REVIEWER, Role.OPS])
def test_who_reviews_or_operates_does_not_call(role: Role) -> None:
    """Models are for applications and the admin key; a base model is no exception."""
    for model in ("support", "support@2", "base"):
        with pytest.raises(ModelNotFoundError):
            choose(CANARY, BASES, _caller(role=role), model, "u")
    assert callable_models(CANARY, BASES, _caller(role=role)) == []


def test_the_list_is_what_can_be_called() -> None:
    """Own and shared aliases and the bases; for a restricted key its alias."""
    catalog = _catalog(
        _alias(name="support"),
        _alias(number=2, name="secret", tenant="other"),
        _alias(number=3, name="common", tenant="other", is_shared=True),
    )
    everything = ["base", "base-large", "common", "support"]
    assert callable_models(catalog, BASES, _caller()) == everything
    assert callable_models(catalog, BASES, _caller(alias="support")) == ["support"]
    for caller in (_caller(), _caller(alias="support")):
        for model in callable_models(catalog, BASES, caller):
            choose(catalog, BASES, caller, model, "u")
