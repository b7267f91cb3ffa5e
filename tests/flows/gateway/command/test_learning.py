"""Learning by the command: files in, what is missing, runs, reviews, schedules."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from monitoring.reviews import sample_reviews
from serving.store.aliases import find_alias, id_of
from serving.store.database import Database
from tests.answered import answer_chats
from tests.flows.gateway.command.conftest import Strop


def write_rows(path: Path, num: int) -> Path:
    """Write a file of so many curated rows."""
    rows = [
        {"instruction": "Which queue?", "input": f"ticket {i} of {i * 7919}", "output": "billing"}
        for i in range(num)
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def triage(strop: Strop) -> dict[str, Any]:
    """The alias `triage`."""
    made: dict[str, Any] = strop.json("aliases", "create", "triage", "--task", "classify")
    return made


@pytest.mark.usefixtures("triage")
def test_a_file_comes_in_whole_or_not_at_all(strop: Strop, tmp_path: Path) -> None:
    """Wrong lines are named by number; a good file says at once what is still missing."""
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"instruction": "a", "output": "b"}\nno json\n{"messages": []}\n')
    error = strop.error("datasets", "import", "triage", str(bad), "--split", "train")
    assert error["code"] == "bad_rows"
    assert "line 2" in error["message"]
    assert "line 3" in error["message"]
    good = write_rows(tmp_path / "good.jsonl", 20)
    imported = strop.json("datasets", "import", "triage", str(good), "--split", "train")
    assert (imported["num_rows"], imported["num_training_rows"]) == (20, 20)
    assert imported["missing"]
    held = strop.json("datasets", "import", "triage", str(good), "--split", "eval")
    assert held["evaluation_set"]["number"] == 1
    listed = strop.json("datasets", "list", "triage")
    assert [found["split"] for found in listed["imports"]] == ["eval", "train"]
    assert strop.error("datasets", "build", "triage")["code"] == "too_few_rows"
    assert strop.error("datasets", "show", "7")["code"] == "not_found"
    assert strop.error("datasets", "export", "7", str(tmp_path / "new"))["code"] == "not_found"


@pytest.mark.usefixtures("triage")
def test_a_run_waits_in_the_queue(strop: Strop, tmp_path: Path) -> None:
    """Without a worker a run stays queued, one per alias, and says what would take it up.

    Where the configuration names no base model, none is begun.
    """
    refused = strop.error("train", "triage")
    assert (refused["code"], "base_model" in refused["message"]) == ("configuration", True)
    config = tmp_path / "strop.toml"
    config.write_text('[engine]\nbase_model = "some/hub-name"\n')
    begun = strop.json("train", "triage", "--config", str(config))
    assert (begun["state"], begun["actor"]) == ("queued", "console")
    assert strop.error("train", "triage", "--config", str(config))["code"] == "conflict"
    shown = strop.json("runs", "show", str(begun["id"]))
    assert "strop up" in shown["summary"]
    assert strop.json("runs", "cancel", str(begun["id"]))["is_cancelled"] is True
    lines = strop.run("runs", "list", "triage").stdout.splitlines()
    assert lines[0].split()[:3] == ["RUN", "ALIAS", "STATE"]
    assert strop.error("runs", "show", str(2**40))["code"] == "invalid_request"


@pytest.mark.usefixtures("triage")
def test_an_answer_is_reviewed(strop: Strop) -> None:
    """The oldest is shown with what to type next; then nothing waits any more."""
    inference_id = asyncio.run(deal_one(strop.url))
    shown = strop.run("reviews", "next", "triage").stdout
    assert "answer: billing" in shown
    assert f"strop reviews submit {inference_id}" in shown
    words = ("--verdict", "incorrect", "--corrected", "returns")
    kept = strop.json("reviews", "submit", inference_id, *words)
    assert (kept["verdict"], kept["corrected"]) == ("incorrect", "returns")
    assert strop.json("reviews", "next", "triage") == {"review": None}
    told = strop.run("reviews", "next", "triage").stdout
    assert told == "No answer of default/triage waits for a review.\n"


@pytest.mark.usefixtures("triage")
def test_a_schedule_is_set_and_learning_paused(strop: Strop) -> None:
    """`aliases set` takes names or five cron fields; the status tells of a pause."""
    words = ("--schedule", "0 3 1 * *", "--zone", "Europe/Berlin")
    changed = strop.json("aliases", "set", "triage", *words)
    assert (changed["schedule"], changed["time_zone"]) == (words[1], words[3])
    assert "weekly" in strop.error("aliases", "set", "triage", "--schedule", "weekly")["message"]
    assert strop.json("aliases", "pause", "triage")["is_paused"] is True
    assert strop.json("aliases", "resume", "triage")["is_paused"] is False


@pytest.mark.usefixtures("triage")
def test_a_release_tells_its_lineage(strop: Strop) -> None:
    """The base was not trained here."""
    assert strop.json("releases", "lineage", "triage", "1")["run"] is None
    assert "not trained here" in strop.run("releases", "lineage", "triage", "1").stdout
    assert strop.json("releases", "lineage", "triage", "1", "--rows", "raters")["raters"] == []


async def deal_one(url: str) -> str:
    """Have `triage` answer a chat that is dealt to reviewers; return its id."""
    database = Database.connect(url)
    try:
        async with database.session() as session:
            alias = await find_alias(session, "triage", "default")
        (begin,) = await answer_chats(database, id_of(alias), 1)
        await sample_reviews(database, 1.0)
    finally:
        await database.close()
    return begin.id
