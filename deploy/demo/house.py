"""The running Strop of the demo: `strop up` as a child, its commands, and its `/api`."""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from gateway.command.up import child_environment
from serving.errors import ConfigurationError, ConflictError, StropError, UnavailableError
from serving.fleet import keeper
from serving.home import holder_of
from serving.settings import Settings
from serving.store.embedded import open_store

Json = dict[str, Any]

MARKER = "demo"
"""A file in the demo's home that says: this home may be thrown away."""
_TIMEOUT = httpx.Timeout(120)
_LOOK_SECONDS = 0.5
_STOP_SECONDS = 90
_KEEPER_SECONDS = 15
_NUM_LOG_BYTES = 3_000


@dataclass(frozen=True, slots=True)
class House:
    """Where the demo's Strop is, and how to talk to it."""

    settings: Settings
    environment: dict[str, str]
    client: httpx.AsyncClient
    """Its base URL is the gateway's; it carries no key."""
    process: asyncio.subprocess.Process

    async def strop(self, *words: str) -> Json:
        """Run a `strop` command and return its JSON.

        Raises:
            StropError: it failed; in its own words.
        """
        child = await asyncio.create_subprocess_exec(
            *_command(*words, "--json"),
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            output, errors = await child.communicate()
        finally:
            if child.returncode is None:  # the story was cut short
                child.kill()
        if child.returncode != 0:
            said = errors.decode(errors="replace").strip()
            raise StropError(f"`strop {' '.join(words)}` failed: {said}")
        answer: Json = json.loads(output)
        return answer

    async def get(self, path: str, **parameters: str) -> Json:
        """Return what `/api` says to an operator.

        Raises:
            StropError: it refuses, or does not answer.
        """
        key = self.settings.admin_key.read_text().strip()
        headers = {"Authorization": f"Bearer {key}"}
        try:
            answer = await self.client.get(path, params=parameters, headers=headers)
        except httpx.TransportError as error:
            raise UnavailableError(f"{path} did not answer: {error!r}") from error
        if answer.is_error:
            raise StropError(f"{path} answered {answer.status_code}: {answer.text[:300]}")
        body: Json = answer.json()
        return body

    def check_alive(self) -> None:
        """Notice that `strop up` has ended.

        Raises:
            ConfigurationError: it has; with the end of what it printed.
        """
        if self.process.returncode is not None:
            raise ConfigurationError(f"`strop up` ended: {_end_of(_output(self.settings))}")

    async def until_ready(self) -> None:
        """Return when the gateway can answer requests.

        Raises:
            ConfigurationError: `strop up` has ended.
        """
        is_ready = False
        while not is_ready:
            await asyncio.sleep(_LOOK_SECONDS)
            self.check_alive()
            try:
                is_ready = (await self.client.get("/health/ready")).is_success
            except httpx.TransportError:
                continue  # it does not listen yet


@asynccontextmanager
async def running_house(settings: Settings, config: Path) -> AsyncIterator[House]:
    """Start `strop up` on an empty home; stop it as Ctrl-C would."""
    empty_home(settings)
    environment = child_environment(settings, config)
    with _output(settings).open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *_kept(_command("up")),
            env=environment,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C here reaches it through us, when we are done
        )
    try:
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
        async with httpx.AsyncClient(
            base_url=settings.gateway.near_url, timeout=_TIMEOUT, limits=limits, trust_env=False
        ) as client:
            yield House(settings, environment, client, process)
    finally:
        await _stop(process)


def empty_home(settings: Settings) -> None:
    """Throw away what an earlier demo left; every demo begins at the beginning.

    Raises:
        ConflictError: an earlier demo still runs there.
        ConfigurationError: the folder is no demo's.
    """
    home = settings.home
    holder = holder_of(settings)
    if holder is not None:
        raise ConflictError(f"A demo runs already on {home}, as process {holder}. Stop it first.")
    if home.exists() and any(home.iterdir()):
        if not (home / MARKER).is_file():
            raise ConfigurationError(
                f"{home} holds something, and it is no demo's. Unset STROP_HOME, or name an empty "
                "folder: the demo throws away what it finds in its home."
            )
        _stop_database(settings)
        shutil.rmtree(home)
    home.mkdir(mode=0o711, parents=True, exist_ok=True)
    (home / MARKER).write_text("Made by `strop demo`, and thrown away by the next one.\n")


def _command(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "gateway.command.main", *words)


def _kept(command: tuple[str, ...]) -> tuple[str, ...]:
    """Have a keeper between us and the command: should we be killed, nothing is left behind."""
    return (
        *(sys.executable, "-I", "-S", keeper.__file__),
        *(str(os.getpid()), str(_STOP_SECONDS), *command),
    )


def _stop_database(settings: Settings) -> None:
    """Stop a PostgreSQL that outlived its demo: whoever leaves last stops it."""
    if (settings.home / "pg" / "postmaster.pid").exists():
        with open_store(settings):
            pass


def _output(settings: Settings) -> Path:
    return settings.home / "up.out"


def _end_of(path: Path) -> str:
    return path.read_bytes()[-_NUM_LOG_BYTES:].decode(errors="replace").strip()


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _STOP_SECONDS + _KEEPER_SECONDS)
    except TimeoutError:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
