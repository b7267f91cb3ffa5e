"""Learning over `/api`: reviews by those who may, runs queued and cancelled, schedules and pauses."""

import asyncio
from typing import Any

import pytest

from monitoring.reviews import sample_reviews
from serving.store.database import Database
from serving.types import Role
from tests.answered import answer_chats, say
from tests.flows.gateway.api.test_api import Api
from tests.gateway import Gateway, make_alias, make_key

CALLERS: dict[str, dict[str, Any]] = {
    "reviewer": {},
    "second": {},
    "foreign": {"tenant": "acme"},
    "bound": {"aliases": ["other"]},
    "ops": {"role": Role.OPS},
}


@pytest.fixture
async def callers(gateway: Gateway, database: Database) -> dict[str, Api]:
    """Reviewers of two tenants, one of them bound to another alias, and an operator."""
    await make_alias(database, gateway.settings, "other")
    keys = {
        name: await make_key(database, **({"role": Role.REVIEWER} | fields))
        for name, fields in CALLERS.items()
    }
    async with asyncio.timeout(60):
        while any(gateway.runtime.catalog.principal_of(key) is None for key in keys.values()):  # noqa: ASYNC110 - no event for it
            await asyncio.sleep(0.01)
    return {name: Api(gateway, key) for name, key in keys.items()}


async def test_an_answer_is_handed_out_and_judged(
    callers: dict[str, Api], gateway: Gateway, database: Database
) -> None:
    """What a reviewer is shown, and what comes of the verdict; a second opinion is refused."""
    alias_id = await make_alias(database, gateway.settings, "triage")
    (begin,) = await answer_chats(database, alias_id, 1)
    given = await say(database, begin, demonstration="returns")
    await sample_reviews(database, 1.0)
    reviewer = callers["reviewer"]
    wanted = {"alias": "triage"}
    assert (await reviewer.call("GET", "/reviews/next", alias="triage"))[0] == 405
    status, body = await reviewer.call("POST", "/reviews/next", wanted)
    item = body["review"]
    assert (status, item["inference_id"], item["answer"]) == (200, begin.id, "billing")
    assert item["prompt"] == [{"role": "user", "content": "question 0"}]
    assert item["demonstrations"] == [{"feedback_id": given.id, "text": "returns"}]
    assert (await reviewer.call("POST", "/reviews/next", wanted))[1] == {"review": None}
    verdict = {"verdict": "incorrect", "accept_demonstration": given.id}
    status, judged = await reviewer.call("POST", f"/reviews/{begin.id}", verdict)
    assert (status, judged["verdict"], judged["corrected"]) == (200, "incorrect", "returns")
    assert judged["reviewer"].startswith("key_")
    status, _ = await callers["second"].call("POST", f"/reviews/{begin.id}", {"verdict": "correct"})
    assert status == 409


async def test_a_reviewer_judges_own_aliases_only(
    callers: dict[str, Api], gateway: Gateway, database: Database
) -> None:
    """Another tenant's reviewer, or one bound to another alias, learns of nothing; operators may."""
    alias_id = await make_alias(database, gateway.settings, "triage")
    (begin,) = await answer_chats(database, alias_id, 1)
    await sample_reviews(database, 1.0)
    for name in ("foreign", "bound"):
        wanted = {"alias": "triage", "tenant": "default"}
        assert (await callers[name].call("POST", "/reviews/next", wanted))[0] == 404
        status, refused = await callers[name].call(
            "POST", f"/reviews/{begin.id}", {"verdict": "correct"}
        )
        status_unknown, unknown = await callers[name].call(
            "POST", f"/reviews/{'x' * 48}", {"verdict": "correct"}
        )
        assert (status, refused["error"]["code"]) == (404, unknown["error"]["code"])
        assert status_unknown == 404
    status, _ = await callers["ops"].call("POST", f"/reviews/{begin.id}", {"verdict": "correct"})
    assert status == 200


async def test_a_run_is_queued_once_shown_and_cancelled(
    callers: dict[str, Api], gateway: Gateway, database: Database
) -> None:
    """A second run of the alias waits until the first has ended; the status says what is going on."""
    await make_alias(database, gateway.settings, "triage")
    ops = callers["ops"]
    status, run = await ops.call("POST", "/runs", {"alias": "triage"})
    assert (status, run["state"], run["trigger"]) == (201, "queued", "manual")
    status, refused = await ops.call("POST", "/runs", {"alias": "triage"})
    assert (status, str(run["id"]) in refused["error"]["message"]) == (409, True)
    _, seen = await ops.call("GET", "/status")
    assert seen["aliases"][1]["learning"] == run["summary"]
    status, cancelled = await ops.call("POST", f"/runs/{run['id']}/cancel")
    assert (status, cancelled["is_cancelled"]) == (200, True)
    _, listed = await ops.call("GET", "/runs", alias="triage")
    assert [found["id"] for found in listed["runs"]] == [run["id"]]
    _, shown = await ops.call("GET", f"/runs/{run['id']}")
    assert shown == {**listed["runs"][0], "evaluations": []}
    assert (await ops.call("POST", "/runs", {"alias": "triage", "dataset": 7}))[0] == 404
    for path in ("/datasets", "/evaluations", "/releases/1/lineage"):
        assert (await ops.call("GET", path, alias="triage"))[0] == 200


async def test_an_alias_is_scheduled_and_paused(
    callers: dict[str, Api], gateway: Gateway, database: Database
) -> None:
    """A schedule or zone that nobody can read is refused, and leaves the alias as it was."""
    await make_alias(database, gateway.settings, "triage")
    ops, path = callers["ops"], "/aliases/triage"
    change = {"schedule": "0 3 1 * *", "zone": "Europe/Berlin"}
    status, changed = await ops.call("PATCH", path, change)
    assert (status, changed["schedule"], changed["time_zone"]) == (200, *change.values())
    for wrong in ({"schedule": "weekly"}, {"zone": "Nowhere"}, {"schedule": "* " * 70}):
        assert (await ops.call("PATCH", path, wrong))[0] == 400
    _, paused = await ops.call("POST", f"{path}/pause")
    assert (paused["is_paused"], paused["schedule"]) == (True, change["schedule"])
    _, resumed = await ops.call("POST", f"{path}/resume")
    assert resumed["is_paused"] is False
