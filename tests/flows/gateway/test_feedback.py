"""Ratings: who may give one, on what, and what is kept of it."""

import json
import time
from datetime import timedelta
from typing import Any

import pytest

from serving.ids import Signer
from serving.journal.records import Feedback
from serving.settings import Settings
from serving.store.database import Database
from serving.store.retention import note_purge
from serving.store.tables import utc_now
from serving.types import Rating, Role
from tests.gateway import Answered, Gateway, make_key, running_gateway, until

DAY_MS = 86_400_000

MALFORMED: list[tuple[dict[str, Any], str | None]] = [
    ({}, None),
    ({"rating": "sideways"}, "rating"),
    ({"rating": 1}, "rating"),
    ({"score": 1.01}, "score"),
    ({"score": -1}, "score"),
    ({"comment": "x" * 4097}, "comment"),
    ({"demonstration": "x" * 65_537}, "demonstration"),
    ({"comment": "a\0b"}, "comment"),
    ({"rating": "up", "rater": ""}, "rater"),
    ({"rating": "up", "rater": "anonymous"}, "rater"),
    ({"rating": "up", "tenant": "other"}, None),
    ({"rating": "up", "given_at": "2020-01-01"}, None),
]


async def rate(gateway: Gateway, headers: dict[str, str] | None = None, **fields: Any) -> Answered:
    """Send a rating with the gateway's key."""
    return await gateway.post("/v1/feedback", json.dumps(fields).encode(), headers)


async def rate_without_key(gateway: Gateway, **fields: Any) -> Answered:
    """Send a rating as a browser widget does."""
    body = json.dumps(fields).encode()
    headers = {"Content-Type": "application/json", "Origin": "https://shop.example"}
    async with gateway.session.post(
        f"{gateway.url}/v1/feedback", data=body, headers=headers
    ) as response:
        return Answered(response.status, response.headers, await response.read())


def an_id(gateway: Gateway, tenant: str = "default") -> str:
    """Return the id of a request that a tenant might have made."""
    return gateway.runtime.signer.mint(tenant)


def ratings(gateway: Gateway) -> list[Feedback]:
    """Return what the journal holds of ratings."""
    return [record for record in gateway.records() if isinstance(record, Feedback)]


@pytest.mark.parametrize("prefix", ["", "chatcmpl-", "cmpl-"])
async def test_a_rating_is_journaled(gateway: Gateway, prefix: str) -> None:
    """200 means it is in the journal; the id counts with and without the engine's prefix."""
    inference_id = an_id(gateway)
    answer = await rate(gateway, inference_id=prefix + inference_id, rating="up", rater="anna")
    assert answer.status == 200
    assert answer.json["inference_id"] == inference_id
    assert answer.json["status"] == "accepted"
    (kept,) = ratings(gateway)
    assert (kept.id, kept.rating, kept.rater) == (answer.json["feedback_id"], Rating.UP, "anna")
    assert kept.tenant == "default"


async def test_a_retry_gets_the_same_feedback_id(gateway: Gateway) -> None:
    """The id is of inference and rater: a later rating supersedes, another rater's does not."""
    inference_id = an_id(gateway)
    first = await rate(gateway, inference_id=inference_id, rating="up", rater="anna")
    again = await rate(gateway, inference_id=inference_id, rating="down", rater="anna")
    other = await rate(gateway, inference_id=inference_id, rating="down", rater="ben")
    assert first.json["feedback_id"] == again.json["feedback_id"] != other.json["feedback_id"]
    assert len(ratings(gateway)) == 3


async def test_without_a_key_the_rater_is_anonymous(gateway: Gateway) -> None:
    """The signed id alone lets a widget rate; it may not name anybody."""
    inference_id = an_id(gateway)
    answer = await rate_without_key(gateway, inference_id=inference_id, score=0.5)
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    (kept,) = ratings(gateway)
    assert (kept.rater, kept.key_id, kept.tenant) == ("anonymous", None, "default")
    named = await rate_without_key(gateway, inference_id=inference_id, score=1, rater="anna")
    assert (named.status, named.error["param"]) == (400, "rater")


async def test_all_ids_that_may_not_be_rated_get_one_answer(
    gateway: Gateway, database: Database
) -> None:
    """Unknown, forged, foreign, unlogged, old, purged and future ids cannot be told apart."""
    await make_key(database, tenant="other")
    async with database.session() as session:
        await note_purge(session, utc_now().date() - timedelta(days=1))
    await until(
        lambda: (
            gateway.runtime.catalog.kept_since is not None
            and any(p.tenant == "other" for p in gateway.runtime.catalog.principals.values())
        )
    )
    signer, now = gateway.runtime.signer, time.time_ns() // 1_000_000
    ids = [
        "nonsense",
        Signer({1: b"x" * 32}).mint("default"),
        signer.mint("other"),
        signer.mint("default", is_logged=False),
        signer.mint_at(now - 91 * DAY_MS, "default"),
        signer.mint_at(now - 3 * DAY_MS, "default"),
        signer.mint_at(now + DAY_MS, "default"),
    ]
    answers = [await rate(gateway, inference_id=id_, rating="up") for id_ in ids]
    assert {answer.status for answer in answers} == {404}
    assert len({answer.body for answer in answers}) == 1
    assert ratings(gateway) == []


async def test_what_is_not_kept_any_more_is_unknown(settings: Settings, database: Database) -> None:
    """An inference older than `store.retention_days` gets the answer of one that never was."""
    store = settings.store.model_copy(update={"retention_days": 30})
    keeping = settings.model_copy(update={"store": store})
    async with running_gateway(keeping, database) as gateway:
        now = time.time_ns() // 1_000_000
        ages = {29: 200, 31: 404}
        ids = [gateway.runtime.signer.mint_at(now - age * DAY_MS, "default") for age in ages]
        answers = [await rate(gateway, inference_id=id_, rating="up") for id_ in ids]
        assert [answer.status for answer in answers] == list(ages.values())
        assert answers[1].error["code"] == "inference_not_found"
        unknown = await rate(gateway, inference_id="nonsense", rating="up")
        assert answers[1].body == unknown.body


async def test_malformed_ratings_are_refused(gateway: Gateway) -> None:
    """Out of bounds, unknown fields, or no signal at all: 400 naming the field."""
    for fields, param in MALFORMED:
        answer = await rate(gateway, inference_id=an_id(gateway), **fields)
        assert (answer.status, answer.error["param"]) == (400, param), fields
    assert ratings(gateway) == []


async def test_a_key_cannot_rate_as_another(gateway: Gateway) -> None:
    """A rater named like a key is refused, unless it is the caller's own key."""
    answer = await rate(gateway, inference_id=an_id(gateway), rating="up", rater="key_abcdefghij")
    assert (answer.status, answer.error["param"]) == (400, "rater")
    assert ratings(gateway) == []


async def test_an_unknown_key_is_no_anonymous_rater(gateway: Gateway) -> None:
    """A wrong key is an error, not nobody."""
    wrong = {"Authorization": "Bearer sk-wrong"}
    answer = await rate(gateway, wrong, inference_id=an_id(gateway), rating="up")
    assert answer.status == 401


async def test_a_browser_may_ask_first(gateway: Gateway) -> None:
    """Preflight is answered on this route, and on this one only."""
    headers = {
        "Origin": "https://shop.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    async with gateway.session.options(f"{gateway.url}/v1/feedback", headers=headers) as answer:
        assert answer.status == 204
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "content-type" in answer.headers["access-control-allow-headers"]
        assert "access-control-allow-credentials" not in answer.headers
    url = f"{gateway.url}/v1/chat/completions"
    async with gateway.session.options(url, headers=headers) as answer:
        assert answer.status == 405
        assert "access-control-allow-origin" not in answer.headers


async def test_an_admin_key_rates_its_own_tenant_only(gateway: Gateway, database: Database) -> None:
    """No role reaches across tenants here."""
    gateway.key = await make_key(database, tenant="house", role=Role.ADMIN)
    await until(lambda: gateway.runtime.catalog.principal_of(gateway.key) is not None)
    answer = await rate(gateway, inference_id=an_id(gateway), rating="up")
    assert answer.status == 404
