"""The command as a user has it: processes of their own on a home with embedded PostgreSQL."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from serving.settings import Settings
from serving.store.embedded import open_store
from tests.commands import run_command
from tests.stack import wait_until_left


class Strop:
    """The command, on one home."""

    def __init__(self, home: Path, url: str = "") -> None:
        self.home = home
        self.url = url
        """Of the home's database."""

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        return run_command(words, {**os.environ, "STROP_HOME": str(self.home)})

    def json(self, *words: str) -> Any:
        """Run one command that has to succeed; return its object."""
        done = self.run(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def error(self, *words: str) -> dict[str, str]:
        """Run one command that has to fail; return its error: one line for people, the same in JSON."""
        done = self.run(*words, "--json")
        assert done.returncode == 1, done.stdout
        assert done.stderr.count("\n") == 1, done.stderr
        error: dict[str, str] = json.loads(done.stdout)["error"]
        return error


@pytest.fixture(scope="module")
def strop() -> Iterator[Strop]:
    """The command on a home of its own that `strop migrate` has made."""
    # Not under tmp_path: a socket's path may have 107 bytes.
    with TemporaryDirectory(prefix="strop-") as folder:
        command = Strop(Path(folder) / "home")
        assert command.json("migrate")["schema"]
        wait_until_left(command.home)
        # As under `strop up`: commands join the PostgreSQL that runs, and leave it running.
        with open_store(Settings(home=command.home)) as command.url:
            yield command
        wait_until_left(command.home)
