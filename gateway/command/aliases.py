"""`strop aliases`: make, list, show, set, pause and resume aliases."""

import click

from gateway.command.options import (
    Options,
    StropGroup,
    alias_argument,
    pass_options,
    split_argument,
    tenant_option,
)
from gateway.command.output import answer, print_facts, print_table
from gateway.command.releases import print_flips
from gateway.command.running import run
from gateway.operations import aliases as operations
from gateway.operations.resources import Json
from retrain.periods import NAMED
from serving.types import Task

_TASKS = click.Choice([task.value for task in Task])


@click.group(cls=StropGroup)
def aliases() -> None:
    """Make, list, show and set aliases: the names that clients put into `model`."""


@aliases.command()
@click.argument("name", callback=split_argument)
@tenant_option
@click.option("--task", type=_TASKS, required=True, help="What it is for; decides its metrics.")
@click.option("--pool", help="Whose base model it begins with; default: the first pool.")
@click.option("--system-prompt", help="Sent where the client sends no system message.")
@click.option("--shared", "is_shared", is_flag=True, help="Other tenants may call it.")
@pass_options
def create(
    options: Options,
    name: str,
    tenant: str,
    task: str,
    pool: str | None,
    system_prompt: str | None,
    is_shared: bool,
) -> None:
    """Make an alias; its release 1, the pool's base model, serves at once."""
    made = run(
        options,
        lambda resources: operations.create_alias(
            resources,
            name=name,
            tenant=tenant,
            task=Task(task),
            pool=pool,
            system_prompt=system_prompt,
            is_shared=is_shared,
        ),
    )
    answer(options, made, _show)


@aliases.command("list")
@click.option("--tenant", help="Only this tenant's.")
@pass_options
def list_(options: Options, tenant: str | None) -> None:
    """List aliases with what each of them serves."""
    found = run(options, lambda resources: operations.list_aliases(resources, tenant=tenant))
    answer(options, found, _show_list)


@aliases.command()
@alias_argument
@pass_options
def show(options: Options, name: str, tenant: str) -> None:
    """Show an alias and every flip of its champion."""
    found = run(options, lambda resources: operations.show_alias(resources, name, tenant))
    answer(options, found, _show)


@aliases.command("set")
@alias_argument
@click.option("--task", type=_TASKS, help="What it is for.")
@click.option("--shared/--not-shared", "is_shared", default=None, help="Other tenants may call it.")
@click.option("--schedule", help=f"When it is trained anew: {', '.join(NAMED)} or 5 cron fields.")
@click.option("--zone", help="The time zone of its schedule, such as Europe/Berlin.")
@click.option("--budget", type=int, help="Tokens a calendar month (UTC), of all callers; 0: any.")
@pass_options
def set_(
    options: Options,
    name: str,
    tenant: str,
    task: str | None,
    is_shared: bool | None,
    schedule: str | None,
    zone: str | None,
    budget: int | None,
) -> None:
    """Change what is given. What an alias serves changes by releases only."""
    changed = run(
        options,
        lambda resources: operations.set_alias(
            resources,
            name,
            tenant,
            task=Task(task) if task else None,
            is_shared=is_shared,
            schedule=schedule,
            zone=zone,
            budget=budget,
        ),
    )
    answer(options, changed, _show)


@aliases.command()
@alias_argument
@pass_options
def pause(options: Options, name: str, tenant: str) -> None:
    """Let nothing be trained by itself any more; answers go on."""
    _pause(options, name, tenant, is_paused=True)


@aliases.command()
@alias_argument
@pass_options
def resume(options: Options, name: str, tenant: str) -> None:
    """Let learning go on."""
    _pause(options, name, tenant, is_paused=False)


def release_line(release: Json | None) -> str | None:
    """Say which release this is, in one line."""
    if release is None:
        return None
    return f"{release['number']}: {release['adapter'] or 'the base model'} on {release['pool']}"


def _pause(options: Options, name: str, tenant: str, *, is_paused: bool) -> None:
    changed = run(
        options,
        lambda resources: operations.pause_alias(resources, name, tenant, is_paused=is_paused),
    )
    answer(options, changed, _show)


def _show(alias: Json) -> None:
    print_facts(
        {
            "alias": f"{alias['tenant']}/{alias['name']}",
            "task": alias["task"],
            "shared": alias["is_shared"],
            "schedule": f"{alias['schedule']} ({alias['time_zone']})",
            "paused": alias["is_paused"],
            "tokens a month": alias["budget"],
            "champion": release_line(alias["champion"]),
            "challenger": release_line(alias["challenger"]),
            "previous": release_line(alias["previous"]),
            "system prompt": alias["champion"]["system_prompt"],
        }
    )
    flips = alias.get("promotions")
    if flips:
        click.echo()
        print_flips(flips)


def _show_list(body: Json) -> None:
    print_table(
        ("ALIAS", "TASK", "CHAMPION", "CHALLENGER", "PREVIOUS", "SHARED"),
        [
            (
                f"{alias['tenant']}/{alias['name']}",
                alias["task"],
                release_line(alias["champion"]),
                release_line(alias["challenger"]),
                release_line(alias["previous"]),
                alias["is_shared"],
            )
            for alias in body["aliases"]
        ],
        empty="There are no aliases. `strop aliases create NAME --task TASK` makes one.",
    )
