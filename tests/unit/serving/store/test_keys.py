"""Keys: shown once, kept as a hash, restricted, revoked."""

import re
from typing import Any

import pytest

from serving.errors import InvalidRequestError, NotFoundError
from serving.routing.catalog import Catalog, Exceptions, Principal, Quota, digest_of
from serving.settings import Settings
from serving.store.aliases import create_alias
from serving.store.catalog import load_catalog
from serving.store.database import Database
from serving.store.keys import create_key, list_keys, revoke_key, set_key
from serving.types import Role, Task


async def test_the_text_is_not_kept(database: Database) -> None:
    """The table has the key's SHA-256 and nothing to rebuild it from."""
    async with database.session() as session:
        key, text = await create_key(session, role=Role.APP, tenant="acme", name="web")
    assert re.fullmatch(r"sk-strop-[A-Za-z0-9_-]{43}", text)
    assert re.fullmatch(r"key_[a-z2-7]{10}", key.id)
    assert key.digest == digest_of(text)
    assert text not in repr(key.model_dump())


async def test_a_key_becomes_a_principal_and_ceases_to_be_one(database: Database) -> None:
    """Each change raises the revision; a revoked key is not in the next catalogue."""
    async with database.session() as session:
        key, text = await create_key(session, role=Role.OPS, tenant="acme", name="ci")
    async with database.session() as session:
        catalog = await load_catalog(session)
    principal = catalog.principal_of(text)
    assert principal is not None
    assert (principal.key_id, principal.tenant, principal.role) == (key.id, "acme", Role.OPS)
    assert catalog.revision == 1

    async with database.session() as session:
        revoked = await revoke_key(session, key.id)
    async with database.session() as session:
        again = await revoke_key(session, key.id)
        catalog = await load_catalog(session)
    assert catalog.principal_of(text) is None
    assert catalog.revision == 2
    assert again.revoked_at == revoked.revoked_at


@pytest.mark.parametrize(
    ("no_log", "no_train", "is_logged", "is_trainable"),
    [
        (False, False, True, True),
        (False, True, True, False),
        (True, False, False, False),
        (True, True, False, False),
    ],
)
async def test_what_is_not_logged_cannot_train(
    database: Database, no_log: bool, no_train: bool, is_logged: bool, is_trainable: bool
) -> None:
    """`no_log` implies `no_train`."""
    async with database.session() as session:
        _, text = await create_key(
            session, role=Role.APP, tenant="acme", name="web", no_log=no_log, no_train=no_train
        )
        principal = (await load_catalog(session)).principal_of(text)
    assert principal is not None
    assert (principal.is_logged, principal.is_trainable) == (is_logged, is_trainable)


async def test_a_restricted_key_needs_an_alias_that_its_tenant_reaches(
    database: Database, settings: Settings
) -> None:
    """Own and shared aliases will do; an unknown one and another tenant's are the same 404."""
    async with database.session() as session:
        await create_alias(session, settings, name="own", tenant="acme", task=Task.CHAT)
        await create_alias(session, settings, name="theirs", tenant="other", task=Task.CHAT)
        await create_alias(
            session, settings, name="common", tenant="other", task=Task.CHAT, is_shared=True
        )
        key, text = await create_key(
            session, role=Role.APP, tenant="acme", name="web", aliases=["own", "common", "own"]
        )
        assert key.aliases == ["common", "own"]
        principal = (await load_catalog(session)).principal_of(text)
        assert principal is not None
        assert [principal.may_call(name) for name in ("own", "theirs")] == [True, False]
        for alias in ("theirs", "nothing"):
            with pytest.raises(NotFoundError, match=alias):
                await create_key(session, role=Role.APP, tenant="acme", name="web", aliases=[alias])


async def test_keys_need_names_that_people_can_read(database: Database) -> None:
    """A tenant is a name; a label is printable and not empty."""
    async with database.session() as session:
        for label in ("", "  ", "a\nb", "x" * 129):
            with pytest.raises(InvalidRequestError, match="printable"):
                await create_key(session, role=Role.APP, tenant="acme", name=label)
        with pytest.raises(InvalidRequestError, match="tenant"):
            await create_key(session, role=Role.APP, tenant="Acme@home", name="web")


async def test_revoked_keys_stay_listed(database: Database) -> None:
    """The list is the record; an unknown id is refused with the mend."""
    async with database.session() as session:
        first, _ = await create_key(session, role=Role.APP, tenant="acme", name="first")
        second, _ = await create_key(session, role=Role.APP, tenant="acme", name="second")
        await revoke_key(session, first.id)
        assert [key.id for key in await list_keys(session)] == [first.id, second.id]
        with pytest.raises(NotFoundError, match="strop keys list"):
            await revoke_key(session, "key_nothing")


async def test_limits_reach_the_catalogue_and_can_be_changed(database: Database) -> None:
    """What is not named stays; 0 takes a limit away; each change is news for gateways."""
    async with database.session() as session:
        key, text = await create_key(
            session, role=Role.APP, tenant="acme", name="web", quota=Quota(rpm=60, concurrency=2)
        )
        before = await load_catalog(session)
        await set_key(session, key.id, limits={"rpm": 0, "tpm": 1000, "budget": 10**9})
        after = await load_catalog(session)
    assert _quota(before, text) == Quota(rpm=60, concurrency=2)
    assert _quota(after, text) == Quota(tpm=1000, concurrency=2, budget=10**9)
    assert after.revision > before.revision


async def test_aliases_of_a_key_can_be_changed(database: Database, settings: Settings) -> None:
    """New ones take the old ones' place; none at all means any."""
    async with database.session() as session:
        await create_alias(session, settings, name="own", tenant="acme", task=Task.CHAT)
        key, _ = await create_key(session, role=Role.APP, tenant="acme", name="web")
        assert (await set_key(session, key.id, aliases=["own"])).aliases == ["own"]
        assert (await set_key(session, key.id, limits={"rpm": 5})).aliases == ["own"]
        assert (await set_key(session, key.id, aliases=[])).aliases is None
        with pytest.raises(NotFoundError, match="nothing"):
            await set_key(session, key.id, aliases=["nothing"])


async def test_whatever_a_key_is_made_with_can_be_changed(database: Database) -> None:
    """All but its tenant; what is not named stays, and what the key may ask reaches the catalogue."""
    special = Exceptions(allowed=frozenset({"priority"}), most={"n": 2})
    async with database.session() as session:
        key, text = await create_key(
            session, role=Role.APP, tenant="acme", name="web", exceptions=special
        )
        assert (await load_catalog(session)).principal_of(text) == _as_principal(
            key.id, exceptions=special
        )
        await set_key(session, key.id, role=Role.OPS, name="till", no_log=True)
        changed = (await load_catalog(session)).principal_of(text)
        assert changed == _as_principal(
            key.id, role=Role.OPS, exceptions=special, is_logged=False, is_trainable=False
        )
        await set_key(session, key.id, no_log=False, no_train=True, exceptions=Exceptions())
        changed = (await load_catalog(session)).principal_of(text)
        assert changed == _as_principal(key.id, role=Role.OPS, is_trainable=False)
        assert (key.name, key.exceptions) == ("till", None)
        with pytest.raises(InvalidRequestError, match="printable"):
            await set_key(session, key.id, name=" ")


def _as_principal(key_id: str, **given: Any) -> Principal:
    return Principal(**{"key_id": key_id, "tenant": "acme", "role": Role.APP, **given})


async def test_what_cannot_be_a_limit_is_refused_by_name(database: Database) -> None:
    """Not below 1, not beyond what a column holds; no budget for what is not recorded."""
    async with database.session() as session:
        for name, value in (("rpm", -1), ("tpm", 10**10), ("concurrency", 0), ("budget", 10**16)):
            with pytest.raises(InvalidRequestError, match=name):
                await create_key(
                    session, role=Role.APP, tenant="acme", name="w", quota=Quota(**{name: value})
                )
        key, _ = await create_key(session, role=Role.APP, tenant="acme", name="w", no_log=True)
        with pytest.raises(InvalidRequestError, match="not recorded"):
            await set_key(session, key.id, limits={"budget": 5})
        await set_key(session, key.id, no_log=False, limits={"budget": 5})
        with pytest.raises(InvalidRequestError, match="not recorded"):
            await set_key(session, key.id, no_log=True)


def _quota(catalog: Catalog, text: str) -> Quota:
    principal = catalog.principal_of(text)
    assert principal is not None
    return principal.quota
