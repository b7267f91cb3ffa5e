"""`strop purge`: what was deleted is said, also where a day could not be."""

import json
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.command import purge as command
from gateway.command.purge import purge

STUCK = "2026-03-01 cannot be purged yet."


def gone(stuck: str | None) -> dict[str, Any]:
    """Return what the operation says."""
    counts = {"ratings": 4, "reviews": 0, "segments": 0, "files": 0}
    days = [{"day": "2026-02-28", "inferences": 2}]
    return {
        "before": "2026-03-02",
        "days": days,
        **counts,
        "stuck": stuck,
        "is_dry_run": False,
    }


@pytest.mark.parametrize(("stuck", "status"), [(None, 0), (STUCK, 1)])
def test_what_was_deleted_is_said_whatever_is_left(
    monkeypatch: pytest.MonkeyPatch, stuck: str | None, status: int
) -> None:
    """For scripts, status 1 says that something is."""
    monkeypatch.setattr(command, "run", lambda *_: gone(stuck))
    words = ["--before", "2026-03-02", "--yes"]
    for_people = CliRunner().invoke(purge, words)
    assert "2026-02-28  2" in for_people.stdout
    assert for_people.stderr == (f"{stuck}\n" if stuck else "")
    for_scripts = CliRunner().invoke(purge, [*words, "--json"])
    assert json.loads(for_scripts.stdout) == gone(stuck)
    assert for_people.exit_code == for_scripts.exit_code == status
