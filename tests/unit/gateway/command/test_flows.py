"""The command as a user has it: processes of their own on a home with embedded PostgreSQL."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pytest

from serving.settings import Settings
from serving.store.embedded import open_store


class Strop:
    """The command, on one home."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "gateway.command.main", *words],
            env={**os.environ, "STROP_HOME": str(self.home)},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    def json(self, *words: str) -> Any:
        """Run one command that has to succeed; return its object."""
        done = self.run(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def strop() -> Iterator[Strop]:
    """The command on a home of its own that `strop migrate` has made."""
    # Not under tmp_path: a socket's path may have 107 bytes.
    with TemporaryDirectory(prefix="strop-") as folder:
        command = Strop(Path(folder) / "home")
        assert command.json("migrate")["schema"]
        assert processes_on(command.home) == []
        # As under `strop up`: commands join the PostgreSQL that runs, and leave it running.
        with open_store(Settings(home=command.home)):
            yield command
        assert processes_on(command.home) == []


def test_keys_are_made_listed_and_revoked(strop: Strop) -> None:
    """The text of a key is shown once; a revoked one stays in the list, marked."""
    made = strop.json("keys", "create", "--role", "app", "--name", "shop", "--no-train")
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


def test_what_is_not_there_is_said_in_one_line(strop: Strop) -> None:
    """Exit 1, one line for people, the object for programs."""
    done = strop.run("aliases", "show", "nobody", "--json")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert json.loads(done.stdout)["error"]["code"] == "not_found"


def test_a_promotion_without_force_is_refused(strop: Strop) -> None:
    """As long as there is no gate, only a forced promotion with a reason is one."""
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
    assert status["journal"] == {"unread_bytes": 0}
    (summary,) = [alias["summary"] for alias in status["aliases"] if alias["name"] == "idle"]
    assert "no gateway runs" in summary


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


def processes_on(home: Path) -> list[int]:
    """Return the processes that work on this home: a one-shot command leaves none."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if any(str(home) in word for word in process.info["cmdline"] or ())
    ]
