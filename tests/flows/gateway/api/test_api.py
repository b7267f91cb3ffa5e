"""`/api` on a running gateway: the same nouns and JSON as the command, for operators' keys."""

import asyncio
import re
from dataclasses import dataclass
from typing import Any

import pytest

from gateway.operations import aliases as operations
from gateway.operations.resources import Resources
from serving.store.aliases import find_alias
from serving.store.database import Database
from serving.store.releases import create_release
from serving.types import Role
from tests.gateway import Gateway, make_key


@dataclass
class Api:
    """A caller of `/api` with a key of its own."""

    gateway: Gateway
    key: str

    async def call(self, method: str, path: str, body: Any = None, **query: str) -> tuple[int, Any]:
        """Return status and JSON."""
        headers = {"Authorization": f"Bearer {self.key}"}
        url = f"{self.gateway.url}/api{path}"
        session = self.gateway.session
        async with session.request(method, url, json=body, params=query, headers=headers) as got:
            return got.status, await got.json()


async def caller(gateway: Gateway, database: Database, role: Role) -> Api:
    """Return a caller whose key the gateway knows already."""
    key = await make_key(database, role=role)
    async with asyncio.timeout(60):
        while gateway.runtime.catalog.principal_of(key) is None:  # noqa: ASYNC110 - no event for it
            await asyncio.sleep(0.01)
    return Api(gateway, key)


@pytest.fixture
async def admin(gateway: Gateway, database: Database) -> Api:
    """A caller who may do everything."""
    return await caller(gateway, database, Role.ADMIN)


ROUTES = [
    ("GET", "/keys"),
    ("POST", "/keys"),
    ("DELETE", "/keys/key_none"),
    ("GET", "/aliases"),
    ("POST", "/aliases"),
    ("GET", "/aliases/none"),
    ("PATCH", "/aliases/none"),
    ("POST", "/aliases/none/promote"),
    ("POST", "/aliases/none/rollback"),
    ("POST", "/aliases/none/pause"),
    ("POST", "/aliases/none/resume"),
    ("GET", "/adapters"),
    ("GET", "/adapters/none"),
    ("POST", "/adapters/none/verify"),
    ("GET", "/releases"),
    ("GET", "/releases/1"),
    ("GET", "/releases/1/lineage"),
    ("GET", "/releases/1/lineage/raters"),
    ("GET", "/datasets"),
    ("GET", "/datasets/1"),
    ("GET", "/runs"),
    ("POST", "/runs"),
    ("GET", "/runs/1"),
    ("POST", "/runs/1/cancel"),
    ("GET", "/evaluations"),
    ("POST", "/reviews/next"),
    ("POST", "/reviews/none"),
    ("GET", "/status"),
]


async def test_every_route_asks_for_an_operators_key(gateway: Gateway, database: Database) -> None:
    """No key: 401. App: 403. Reviewer: 403 but on reviews. Ops: 403 on keys only. Admin: never."""
    callers = {role: await caller(gateway, database, role) for role in Role}
    for method, path in ROUTES:
        status, body = await Api(gateway, "sk-strop-nobody").call(method, path, {})
        assert (status, body["error"]["type"]) == (401, "authentication_error")
        for role, api in callers.items():
            status, _ = await api.call(method, path, {})
            may = (
                role is Role.ADMIN
                or (role is Role.OPS and not path.startswith("/keys"))
                or (role is Role.REVIEWER and path.startswith("/reviews"))
            )
            assert (status == 403) is not may, (role, method, path, status)
            assert status != 401


async def test_the_routes_are_all_known(gateway: Gateway) -> None:
    """A route that the matrix above does not know is a failure, not a gap."""
    known = {re.sub("/(none|key_none|raters)$|/none(?=/)", "/{}", path) for _, path in ROUTES}
    found = {
        route.path.removeprefix("/api")
        for route in gateway.app.routes
        if route.path.startswith("/api")
    }
    named = {re.sub(r"\{\w+:str\}", "{}", path).replace("{number:int}", "1") for path in found}
    assert named == known


async def test_keys_are_made_listed_and_revoked(admin: Api) -> None:
    """A key's text is in the first answer only; a revoked key stays in the list."""
    status, made = await admin.call("POST", "/keys", {"role": "app", "name": "shop"})
    assert (status, made["key"][:9]) == (201, "sk-strop-")
    status, changed = await admin.call("PATCH", f"/keys/{made['id']}", {"rpm": 60, "budget": 1000})
    assert (status, changed["rpm"], changed["budget"], changed["tpm"]) == (200, 60, 1000, None)
    change = {"name": "till", "no_train": True, "fields": {"forbid": ["tools"], "most": {"n": 2}}}
    status, changed = await admin.call("PATCH", f"/keys/{made['id']}", change)
    assert (status, changed["name"], changed["no_train"]) == (200, "till", True)
    assert changed["exceptions"] == {"allowed": [], "forbidden": ["tools"], "most": {"n": 2}}
    status, refused = await admin.call(
        "PATCH", f"/keys/{made['id']}", {"fields": {"allow": ["nothing"]}}
    )
    assert (status, refused["error"]["param"]) == (400, "allow")
    assert await admin.call("GET", f"/keys/{made['id']}") == (200, changed)
    status, revoked = await admin.call("DELETE", f"/keys/{made['id']}")
    assert status == 200
    assert revoked["revoked_at"] is not None
    _, listed = await admin.call("GET", "/keys")
    assert revoked in listed["keys"]


LISTS = [
    ("/keys", {}),
    ("/runs", {}),
    ("/datasets", {}),
    ("/evaluations", {"alias": "support"}),
    ("/releases/1/lineage/raters", {"alias": "support"}),
]


async def test_a_list_comes_by_the_page(admin: Api, database: Database) -> None:
    """At most `limit` rows, and `next` for the others; what is no limit or cursor is refused."""
    await admin.call("POST", "/aliases", {"name": "support", "task": "chat"})
    for tenant in ("a", "b", "a"):
        await make_key(database, tenant)
    _, whole = await admin.call("GET", "/keys")
    first = await admin.call("GET", "/keys", limit="3")
    rest = await admin.call("GET", "/keys", limit="3", cursor=first[1]["next"])
    assert first[1]["keys"] + rest[1]["keys"] == whole["keys"]
    assert (len(first[1]["keys"]), rest[1]["next"], whole["next"]) == (3, None, None)
    _, theirs = await admin.call("GET", "/keys", tenant="a")
    assert [key["tenant"] for key in theirs["keys"]] == ["a", "a"]
    for path, query in LISTS:
        assert (await admin.call("GET", path, limit="1", **query))[0] == 200
        for limit in ("0", "1001", "few"):
            assert (await admin.call("GET", path, limit=limit, **query))[0] == 400
    for path in ("/runs", "/datasets"):
        status, refused = await admin.call("GET", path, cursor="1.x")
        assert (status, refused["error"]["param"]) == (400, "cursor")


async def test_an_alias_answers_as_the_command_does(
    admin: Api, gateway: Gateway, database: Database
) -> None:
    """One noun, one JSON: the route says what the operation says."""
    status, made = await admin.call("POST", "/aliases", {"name": "support", "task": "chat"})
    assert (status, made["champion"]["number"]) == (201, 1)
    resources = Resources(database, gateway.settings, gateway.runtime.engines)
    assert (await admin.call("GET", "/aliases"))[1] == await operations.list_aliases(resources)
    status, changed = await admin.call("PATCH", "/aliases/support", {"is_shared": True})
    assert (status, changed["is_shared"]) == (200, True)
    shown = await operations.show_alias(resources, "support", "default")
    assert (await admin.call("GET", "/aliases/support"))[1] == shown


async def test_a_release_is_promoted_and_rolled_back(admin: Api, database: Database) -> None:
    """The flip says from, to, who and why; a rollback puts the former champion back."""
    await admin.call("POST", "/aliases", {"name": "support", "task": "chat"})
    async with database.session() as session:
        alias = await find_alias(session, "support", "default")
        await create_release(session, alias, pool="default", system_prompt="Be brief.")
    path = "/aliases/support"
    status, refused = await admin.call("POST", f"{path}/promote", {"release": 2})
    assert (status, refused["error"]["code"]) == (400, "force_required")
    order = {"release": 2, "force": True, "reason": "a better prompt"}
    status, flip = await admin.call("POST", f"{path}/promote", order)
    assert (status, flip["from"], flip["to"], flip["reason"]) == (200, 1, 2, "a better prompt")
    assert flip["actor"].startswith("key_")
    _, listed = await admin.call("GET", "/releases", alias="support")
    assert (listed["champion"], listed["previous"]) == (2, 1)
    status, back = await admin.call("POST", f"{path}/rollback", {})
    assert (status, back["to"], back["is_rollback"]) == (200, 1, True)
    _, shown = await admin.call("GET", "/releases/2", alias="support")
    assert [flip["to"] for flip in shown["promotions"]] == [1, 2]


async def test_status_shows_pools_aliases_and_this_worker(admin: Api) -> None:
    """One look: what is configured, who is alive, what each alias can do now."""
    await admin.call("POST", "/aliases", {"name": "support", "task": "chat"})
    _, status = await admin.call("GET", "/status")
    (pool,) = status["pools"]
    assert (pool["name"], len(pool["replicas"])) == ("default", 1)
    assert [alias["name"] for alias in status["aliases"]] == ["support"]
    assert status["journal"]["unread_bytes"] >= 0


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/keys", {"role": "king", "name": "x"}),
        ("POST", "/keys", {"role": "app", "name": "x", "admin": True}),
        ("POST", "/aliases", {"name": "../x", "task": "chat"}),
        ("POST", "/aliases", {"name": "x", "task": "chat", "pool": "none"}),
        ("POST", "/aliases/x/promote", {"release": "first"}),
        ("PATCH", "/aliases/x", [1]),
        ("GET", "/releases", None),
        ("GET", f"/runs/{2**40}", None),
        ("POST", "/reviews/%00", {"verdict": "correct"}),
        ("POST", "/reviews/x", {"verdict": "maybe"}),
    ],
)
async def test_what_is_wrong_is_400_in_openais_shape(
    admin: Api, method: str, path: str, body: Any
) -> None:
    """Unknown fields, wrong types and missing parameters are refused, never ignored."""
    status, answer = await admin.call(method, path, body)
    assert status == 400
    assert answer["error"]["type"] == "invalid_request_error"
    assert answer["error"]["message"]


@pytest.mark.parametrize(
    "body", [b'{"name": "\xff"}', b"[" * 100_000, b"{", b"", b'{"name": NaN}', b"\xef\xbb\xbf{}"]
)
async def test_an_unreadable_body_is_400(admin: Api, body: bytes) -> None:
    """No body, whatever its bytes, makes the server fail."""
    headers = {"Authorization": f"Bearer {admin.key}", "Content-Type": "application/json"}
    url = f"{admin.gateway.url}/api/aliases"
    async with admin.gateway.session.post(url, data=body, headers=headers) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["type"] == "invalid_request_error"


async def test_the_page_is_served_with_a_strict_policy(gateway: Gateway) -> None:
    """Page, style, script and icon come from here, and may load nothing from elsewhere."""
    kinds = {
        "/": "text/html",
        "/page.css": "text/css",
        "/page.js": "text/javascript",
        "/page.svg": "image/svg+xml",
    }
    for path, kind in kinds.items():
        async with gateway.session.get(gateway.url + path) as answer:
            text = await answer.text()
            assert answer.status == 200
            assert answer.headers["content-type"].startswith(kind)
            assert "default-src 'self'" in answer.headers["content-security-policy"]
            assert "https://" not in text
            assert "innerHTML" not in text
