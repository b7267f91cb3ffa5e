"""`strop up`: everything on this machine, kept running, and nothing left when it goes.

1. Hold the home, so that there is one `strop up` on it.
2. Check the machine; refuse with every fault and its mend.
3. Start PostgreSQL, or join it; make the home ready.
4. Start engines, worker and gateway; wait until every pool and alias can be served, or never will.
5. Say what is not, and where everything is; keep it alive.
6. On SIGINT, SIGTERM or SIGHUP (a closed terminal): the gateway drains and stops, then the worker, the engines, PostgreSQL.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path

import click
import httpx

from gateway.command.checks import Finding, check_machine, check_ports
from gateway.command.known_faults import explain
from gateway.command.lookout import Lookout, open_lookout
from gateway.command.progress import describe_start, show_progress
from serving.errors import ConfigurationError
from serving.fleet.engines import urls_of
from serving.fleet.program import Pace, Program
from serving.fleet.supervise import Supervisor
from serving.home import hold_home, initialise_home
from serving.sections import PoolSettings
from serving.settings import Settings
from serving.store.embedded import open_store

Prepare = Callable[[str], Awaitable[None]]
"""What to do once engines and gateway run; gets the database's URL."""

_PROBE_SECONDS = 5.0
# What does not come up at the first start does not at the third: say so at once.
_PACE = Pace(max_first_deaths=1)


def run_up(
    settings: Settings,
    config: Path | None,
    greet: Callable[[], None],
    prepare: Prepare | None = None,
) -> None:
    """Run everything until SIGINT, SIGTERM or SIGHUP.

    Args:
        config: the file that `settings` came from; the children read it too.
        greet: says where everything is.
        prepare: comes before, and what it promotes is waited for.

    Raises:
        ConflictError: another `strop up` holds the home.
        ConfigurationError: the machine is not fit, or a child never came up; says the mend.
    """
    with hold_home(settings) as stale:
        if stale is not None:
            click.echo(
                f"An earlier `strop up` (process {stale}) was killed; taking over.", err=True
            )
        refuse_faults([*check_machine(settings), *check_ports(settings)])
        with open_store(settings) as url:
            initialise_home(settings, url)
            environment = child_environment(settings, config)
            asyncio.run(_keep_up(settings, environment, url, greet, prepare))


def refuse_faults(findings: Iterable[Finding]) -> None:
    """Stop here if anything has to be mended first.

    Raises:
        ConfigurationError: names every fault and its mend.
    """
    faults = [found for found in findings if found.is_fault]
    if faults:
        raise ConfigurationError(" ".join(f"{fault.message} {fault.mend}" for fault in faults))


def child_environment(settings: Settings, config: Path | None) -> dict[str, str]:
    """Return an environment in which a child reads the same configuration."""
    named = {"STROP_CONFIG": str(config.absolute())} if config else {}
    return {**os.environ, **named, "STROP_HOME": str(settings.home)}


def make_programs(
    settings: Settings, environment: dict[str, str], client: httpx.AsyncClient
) -> tuple[list[Program], Program, Program]:
    """Return (engines, worker, gateway) as the supervisor runs them."""
    engines = [
        _engine(settings, pool, index, url, environment, client)
        for pool in settings.all_pools
        if pool.is_launched_here
        for index, url in enumerate(urls_of(settings, pool))
    ]
    worker = Program(name="worker", argv=_strop("worker"), env=environment)
    gateway = Program(
        name="gateway",
        argv=_strop("gateway"),
        env=environment,
        is_ready=partial(_answers, client, f"{settings.gateway.near_url}/health/live"),
        start_seconds=120,
        stop_seconds=settings.gateway.notice_seconds + settings.gateway.drain_seconds + 15,
    )
    return engines, worker, gateway


async def _keep_up(
    settings: Settings,
    environment: dict[str, str],
    url: str,
    greet: Callable[[], None],
    prepare: Prepare | None,
) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    supervisor = Supervisor(settings.log_dir, _PACE)
    async with (
        httpx.AsyncClient(timeout=_PROBE_SECONDS, trust_env=False) as client,
        open_lookout(settings, url) as lookout,
    ):
        engines, worker, gateway = make_programs(settings, environment, client)
        greeting = asyncio.create_task(_greet(supervisor, lookout, url, greet, prepare))
        try:
            supervisor.start(*engines)
            supervisor.start(worker)
            supervisor.start(gateway)
            await _watch(supervisor, greeting, stopping)
        finally:
            await _cancel(greeting)
            if stopping.is_set():
                click.echo("Stopping: the gateway finishes what it has begun.", err=True)
            await supervisor.stop()


async def _greet(
    supervisor: Supervisor,
    lookout: Lookout,
    url: str,
    greet: Callable[[], None],
    prepare: Prepare | None,
) -> None:
    def describe() -> str:
        return describe_start(supervisor.statuses, lookout.outlook.awaited)

    await show_progress(describe, lookout.is_settled)
    if prepare is not None:
        await prepare(url)
        await show_progress(describe, lookout.is_settled)
    for line in lookout.complaints():
        click.echo(line, err=True)
    greet()


async def _watch(
    supervisor: Supervisor, greeting: asyncio.Task[None], stopping: asyncio.Event
) -> None:
    """Keep watch until `stopping`; a child that never comes up, or a failed greeting, ends it."""

    async def greet_then_wait() -> None:
        await greeting
        await stopping.wait()

    watching = asyncio.create_task(supervisor.watch(stopping))
    waiting = asyncio.create_task(greet_then_wait())
    try:
        done, _ = await asyncio.wait({watching, waiting}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            await task
    except ConfigurationError as error:
        raise explain(error, supervisor.log_dir) from error
    finally:
        await _cancel(watching)
        await _cancel(waiting)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)  # its failure was raised by whoever waited


def _engine(
    settings: Settings,
    pool: PoolSettings,
    index: int,
    url: str,
    environment: dict[str, str],
    client: httpx.AsyncClient,
) -> Program:
    return Program(
        name=f"engine-{pool.name}-{index}",
        argv=_strop("engine", "--pool", pool.name, "--replica", str(index)),
        env=environment,
        is_ready=partial(_answers, client, f"{url}/health"),
        start_seconds=settings.engine.start_seconds,
        patience_seconds=settings.engine.patience_seconds,
    )


def _strop(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "gateway.command.main", *arguments)


async def _answers(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url)).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
