"""A whole Strop as a user runs it: `strop up` in a child process, on a home of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from serving.fleet import keeper
from serving.settings import Settings, load_settings
from serving.store.embedded import open_store
from tests.ports import free_port

ROOT = Path(__file__).parent.parent
BASE_MODEL = ROOT / "deploy" / "demo" / "base"
DEMO_ADAPTER = ROOT / "deploy" / "demo" / "adapter"
KEEPER = Path(keeper.__file__)
START_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Stack:
    """A running `strop up`."""

    process: subprocess.Popen[bytes]
    settings: Settings
    environment: dict[str, str]

    @property
    def url(self) -> str:
        """The gateway's address."""
        return f"http://127.0.0.1:{self.settings.gateway.port}"

    @property
    def engine_url(self) -> str:
        """The address of the one engine."""
        return f"http://127.0.0.1:{self.settings.engine.port}"

    @property
    def key(self) -> str:
        """The admin's key."""
        return (self.settings.home / "admin.key").read_text().strip()

    @property
    def headers(self) -> dict[str, str]:
        """What authenticates the admin."""
        return {"Authorization": f"Bearer {self.key}"}

    def strop(self, *arguments: str, seconds: float = 120, code: int = 0) -> Any:
        """Run one `strop` command, which may take `seconds` and ends with `code`; return its JSON."""
        done = subprocess.run(
            [sys.executable, "-m", "gateway.command.main", *arguments, "--json"],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == code, f"strop {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout)

    def processes(self, argument: str) -> list[psutil.Process]:
        """Return the living descendants of `strop up` that were started with `argument`.

        Not the keepers that stand before them, whose arguments are those of their children.
        """
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            try:
                words = process.cmdline()
                if argument in words and str(KEEPER) not in words:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
        return found

    @contextmanager
    def store(self) -> Iterator[str]:
        """Yield the URL of this stack's database."""
        with open_store(self.settings) as url:
            yield url


@contextmanager
def running_stack(home: Path, **environment: str) -> Iterator[Stack]:
    """Start `strop up` on `home`, wait until it is ready, and stop it as Ctrl-C does.

    Nothing of it may be left then.
    """
    variables = stack_environment(home, **environment)
    with mapped_environment(variables):
        settings = load_settings()
    with (home / "up.out").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway.command.main", "up"],
            env=variables,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    stack = Stack(process, settings, variables)
    try:
        wait_until(lambda: is_ready(stack), START_SECONDS, "the stack is ready")
        yield stack
    finally:
        stop(process)
    wait_until_left(home)


def stack_environment(home: Path, **more: str) -> dict[str, str]:
    """Return the environment of a stack on free ports, with the embedded base model."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("STROP_")},
        "STROP_HOME": str(home),
        "STROP_GATEWAY__PORT": str(free_port()),
        "STROP_ENGINE__PORT": str(free_port()),
        "STROP_ENGINE__BASE_MODEL": str(BASE_MODEL),
        **more,
    }


@contextmanager
def mapped_environment(variables: dict[str, str]) -> Iterator[None]:
    """Have `os.environ` be `variables` for a while."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop `strop up` as Ctrl-C does; the test fails if it does not go."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(90)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def processes_on(home: Path) -> list[str]:
    """Return the command lines of what lives on this home: Strop's own by its environment,
    PostgreSQL by its arguments.
    """
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        words, environment = process.info["cmdline"] or [], process.info["environ"] or {}
        if environment.get("STROP_HOME") == str(home) or any(str(home) in word for word in words):
            found.append(" ".join(words))
    return found


def wait_until_left(home: Path) -> None:
    """Fail if anything goes on living on this home. PostgreSQL's pid file goes before itself."""
    wait_until(lambda: processes_on(home) == [], 90, f"nothing lives on {home}")


def is_ready(stack: Stack) -> bool:
    """Whether the gateway says that it can answer; a dead `strop up` fails the test at once."""
    output = stack.settings.home / "up.out"
    assert stack.process.poll() is None, f"strop up ended:\n{output.read_text()[-4000:]}"
    try:
        return httpx.get(f"{stack.url}/health/ready", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def wait_until(is_so: Callable[[], bool], seconds: float, what: str) -> float:
    """Poll until `is_so`; return the seconds it took, fail after `seconds`."""
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        if is_so():
            return time.monotonic() - started
        time.sleep(0.1)
    raise AssertionError(f"After {seconds} s it is still not so that {what}.")
