"""The command as a user has it: processes of their own on a home with embedded PostgreSQL."""

import asyncio
import json
from datetime import date
from pathlib import Path

from serving.store.database import Database
from tests.flows.gateway.command.conftest import Strop
from tests.purging import record_day
from tests.stack import BASE_MODEL, DEMO_ADAPTER


def test_keys_are_made_listed_and_revoked(strop: Strop) -> None:
    """The text of a key is shown once; a revoked one stays in the list, marked."""
    limits = ("--rpm", "60", "--concurrency", "4", "--tpm", "9000")
    made = strop.json("keys", "create", "--role", "app", "--name", "shop", "--no-train", *limits)
    assert (made["rpm"], made["concurrency"], made["budget"]) == (60, 4, None)
    changed = strop.json("keys", "set", made["id"], "--rpm", "0", "--budget", "5000")
    assert (changed["rpm"], changed["tpm"], changed["budget"]) == (None, 9000, 5000)
    fields = ("--allow", "priority", "--forbid", "tools", "--most", "n=2")
    strop.json("keys", "set", made["id"], *fields)
    rest = ("--name", "till", "--role", "ops", "--train", "--usual", "tools", "--most", "top_p=0.5")
    changed = strop.json("keys", "set", made["id"], *rest)
    assert (changed["name"], changed["role"], changed["no_train"]) == ("till", "ops", False)
    most = {"n": 2, "top_p": 0.5}
    assert changed["exceptions"] == {"allowed": ["priority"], "forbidden": [], "most": most}
    shown = strop.run("keys", "list").stdout
    assert "+priority n<=2 top_p<=0.5" in shown
    assert strop.json("keys", "show", made["id"]) == changed
    assert made["key"].startswith("sk-strop-")
    assert made["no_train"] is True
    listed = {key["id"]: key for key in strop.json("keys", "list")["keys"]}
    assert "key" not in listed[made["id"]]
    assert listed[made["id"]]["revoked_at"] is None
    assert strop.json("keys", "revoke", made["id"])["revoked_at"] is not None


def test_aliases_are_made_shown_and_set(strop: Strop) -> None:
    """A new alias serves release 1, the base; `tenant/name` and --tenant say the same."""
    made = strop.json("aliases", "create", "acme/triage", "--task", "classify")
    assert made["champion"]["number"] == 1
    assert made["champion"]["adapter"] is None
    assert strop.json("aliases", "show", "triage", "--tenant", "acme")["promotions"] == []
    assert strop.json("aliases", "set", "acme/triage", "--shared")["is_shared"] is True
    names = [(alias["tenant"], alias["name"]) for alias in strop.json("aliases", "list")["aliases"]]
    assert ("acme", "triage") in names
    releases = strop.json("releases", "list", "acme/triage")
    assert releases["champion"] == 1
    assert [release["number"] for release in releases["releases"]] == [1]
    assert strop.json("releases", "show", "acme/triage", "1")["state"] == "champion"


def test_adapters_are_listed_by_tenant(strop: Strop) -> None:
    """All of them without --tenant; what an import says next names the tenant, too."""
    folder = str(DEMO_ADAPTER)
    config = strop.home / "base.toml"
    config.write_text(f'engine.base_model = "{BASE_MODEL}"\n')
    for tenant in ("north", "south"):
        strop.json("aliases", "create", f"{tenant}/sorter", "--task", "classify")
        done = strop.run("adapters", "import", f"{tenant}/sorter", folder, "--config", str(config))
        assert f"strop promote {tenant}/sorter 2" in done.stdout, done.stderr
    (of_north,) = strop.json("adapters", "list", "--tenant", "north")["adapters"]
    (of_south,) = strop.json("adapters", "list", "sorter", "--tenant", "south")["adapters"]
    names = {adapter["name"] for adapter in strop.json("adapters", "list")["adapters"]}
    assert names == {of_north["name"], of_south["name"]}
    assert strop.json("adapters", "list", "--tenant", "nobody")["adapters"] == []


def test_what_is_not_there_is_said_in_one_line(strop: Strop) -> None:
    """Exit 1, one line for people, the object for programs."""
    done = strop.run("aliases", "show", "nobody", "--json")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert json.loads(done.stdout)["error"]["code"] == "not_found"


def test_a_promotion_without_force_is_refused(strop: Strop) -> None:
    """What no gate has passed is promoted with --force and --reason only."""
    strop.json("aliases", "create", "plain", "--task", "chat")
    for words in ((), ("--force",), ("--reason", "why not")):
        done = strop.run("promote", "plain", "1", *words, "--json")
        assert done.returncode == 1
        assert json.loads(done.stdout)["error"]["type"] == "invalid_request_error"


def test_status_says_what_would_be_served(strop: Strop) -> None:
    """Without `strop up` there are no processes, and each alias's sentence says so."""
    strop.json("aliases", "create", "idle", "--task", "chat")
    status = strop.json("status")
    assert status["processes"] == []
    nothing = {"unread_bytes": 0, "lag_seconds": 0, "damaged_segments": 0, "rejected_files": 0}
    assert status["journal"] == nothing
    (summary,) = [alias["summary"] for alias in status["aliases"] if alias["name"] == "idle"]
    assert "no gateway runs" in summary


def test_old_days_are_purged_by_hand(strop: Strop, tmp_path: Path) -> None:
    """Looked at first, then with --yes; status says since when and for how long records are there."""
    day = date(2026, 3, 1)
    asyncio.run(leave_traffic(strop.url, strop.home / "journal", day))
    assert strop.json("status")["records"] == {
        "oldest_day": "2026-03-01",
        "detached_days": [],
        "retention_days": None,
    }
    assert "since 2026-03-01, kept for ever" in strop.run("status").stdout
    assert "store.retention_days" in strop.error("purge", "--dry-run")["message"]
    assert "--dry-run" in strop.error("purge", "--before", "2026-03-02")["message"]
    assert "still to come" in strop.error("purge", "--before", "9999-01-01", "--yes")["message"]
    keep = tmp_path / "strop.toml"
    keep.write_text("[store]\nretention_days = 1\n")
    for before in ("--before", "2026-03-02"), ("--config", str(keep)):
        ahead = strop.json("purge", *before, "--dry-run")
        assert (ahead["days"], ahead["ratings"], ahead["is_dry_run"]) == (
            [{"day": "2026-03-01", "inferences": 2}],
            2,
            True,
        )
    done = strop.run("purge", "--config", str(keep), "--yes")
    assert done.stdout.splitlines()[1].split() == ["2026-03-01", "2"]
    again = strop.json("purge", "--config", str(keep), "--yes")
    assert (again["days"], again["ratings"], again["is_dry_run"]) == ([], 0, False)
    assert strop.json("status", "--config", str(keep))["records"] == {
        "oldest_day": None,
        "detached_days": [],
        "retention_days": 1,
    }


def test_a_table_is_printed_for_people(strop: Strop) -> None:
    """Without --json the same command prints columns."""
    strop.json("aliases", "create", "columns", "--task", "chat")
    lines = strop.run("aliases", "list").stdout.splitlines()
    assert lines[0].split()[:3] == ["ALIAS", "TASK", "CHAMPION"]
    assert any(line.startswith("default/columns") for line in lines)


def test_the_doctor_finds_an_open_key(strop: Strop) -> None:
    """A key that others can read fails the doctor, with the mend; mended, it is fine."""
    key = strop.home / "admin.key"
    key.chmod(0o644)
    done = strop.run("doctor", "--json")
    levels = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.returncode == 1
    assert levels["admin.key"]["level"] == "fault"
    assert "chmod 600" in levels["admin.key"]["mend"]
    assert {levels[name]["level"] for name in ("database", "schema", "admin key")} == {"ok"}
    key.chmod(0o600)


async def leave_traffic(url: str, folder: Path, day: date) -> None:
    """Have a day of the past in a home's database."""
    database = Database.connect(url)
    try:
        await record_day(database, folder, day)
    finally:
        await database.close()
