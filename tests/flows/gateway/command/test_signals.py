"""A signal ends a command in good order: nothing of it is left on the home."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest

from tests.ports import free_port
from tests.stack import stack_environment, wait_until, wait_until_left

ONE_SHOT = """
import time
import click
from gateway.command.main import main
from serving.settings import load_settings
from serving.store.embedded import open_store

@click.command("wait")
def wait():
    with open_store(load_settings()):
        print("open", flush=True)
        time.sleep(100)

main([], wait)
"""


@pytest.fixture(autouse=True)
def hangups_are_heard() -> Iterator[None]:
    """Under nohup they are not, nor by any process that is started from here."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty home. Not under tmp_path: a socket's path may have 107 bytes."""
    with TemporaryDirectory(prefix="strop-") as folder:
        yield Path(folder) / "home"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_amid_a_command_leaves_no_postgresql(home: Path, number: signal.Signals) -> None:
    """A stop, or a closed terminal, unwinds a command: what it started is stopped."""
    process = subprocess.Popen(
        [sys.executable, "-c", ONE_SHOT],
        env={**os.environ, "STROP_HOME": str(home)},
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        process.send_signal(number)
        assert process.wait(60) == 128 + number
    wait_until_left(home)


def test_a_closed_terminal_stops_everything(home: Path) -> None:
    """SIGHUP ends `strop up` as Ctrl-C does: gateway, worker and PostgreSQL go too."""
    variables = stack_environment(home, STROP_ENGINE__URLS=f'["http://127.0.0.1:{free_port()}"]')
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway.command.main", "up"],
        env=variables,
        start_new_session=True,
        stderr=subprocess.PIPE,
    )
    url = f"http://127.0.0.1:{variables['STROP_GATEWAY__PORT']}/health/live"
    with process:
        wait_until(lambda: process.poll() is not None or _answers(url), 120, "the gateway lives")
        process.send_signal(signal.SIGHUP)
        assert process.wait(90) == 0
    wait_until_left(home)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False
