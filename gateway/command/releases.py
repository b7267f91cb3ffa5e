"""`strop releases`, `strop promote` and `strop rollback`."""

import click

from gateway.command.lineage import show_lineage, show_rows
from gateway.command.options import Options, StropCommand, StropGroup, alias_argument, pass_options
from gateway.command.output import answer, print_facts, print_table, short_time
from gateway.command.running import CONSOLE, run
from gateway.operations import lineage
from gateway.operations import releases as operations
from gateway.operations.resources import Json
from serving.store.lineage import LineageRows


@click.group(cls=StropGroup)
def releases() -> None:
    """List and show releases: what an alias serves, served and may serve."""


@releases.command("list")
@alias_argument
@pass_options
def list_(options: Options, name: str, tenant: str) -> None:
    """List an alias's releases, newest first."""
    found = run(options, lambda resources: operations.list_releases(resources, name, tenant))
    answer(options, found, _show_list)


@releases.command()
@alias_argument
@click.argument("number", metavar="RELEASE", type=int)
@pass_options
def show(options: Options, name: str, tenant: str, number: int) -> None:
    """Show one release."""
    found = run(options, lambda resources: operations.show_release(resources, name, tenant, number))
    answer(options, found, _show)


@releases.command("lineage")
@alias_argument
@click.argument("number", metavar="RELEASE", type=int)
@click.option("--rows", type=click.Choice([rows.value for rows in LineageRows]), help="List these.")
@pass_options
def lineage_(options: Options, name: str, tenant: str, number: int, rows: str | None) -> None:
    """Show which policy and scores, how many rows and people made a release; or list the rows'."""
    if rows is None:
        found = run(
            options, lambda resources: lineage.show_lineage(resources, name, tenant, number)
        )
        answer(options, found, show_lineage)
        return
    wanted = LineageRows(rows)
    found = run(
        options, lambda resources: lineage.list_lineage(resources, name, tenant, number, wanted)
    )
    answer(options, found, lambda body: show_rows(body[rows]))


@click.command(cls=StropCommand)
@alias_argument
@click.argument("number", metavar="RELEASE", type=int)
@click.option("--force", "is_forced", is_flag=True, help="Promote although no gate has passed it.")
@click.option("--reason", help="Why; kept with the promotion.")
@pass_options
def promote(
    options: Options, name: str, tenant: str, number: int, is_forced: bool, reason: str | None
) -> None:
    """Make RELEASE the champion: loaded and proved on every replica before the flip.

    Its gate has to have passed it against the present champion, unless it is forced.
    """
    flip = run(
        options,
        lambda resources: operations.promote(
            resources, name, tenant, number, actor=CONSOLE, reason=reason, is_forced=is_forced
        ),
    )
    answer(options, flip, _show_flip)


@click.command(cls=StropCommand)
@alias_argument
@click.option("--reason", help="Why; kept with the promotion.")
@pass_options
def rollback(options: Options, name: str, tenant: str, reason: str | None) -> None:
    """Put the former champion back; doing it twice undoes it."""
    flip = run(
        options,
        lambda resources: operations.rollback(
            resources, name, tenant, actor=CONSOLE, reason=reason
        ),
    )
    answer(options, flip, _show_flip)


def print_flips(flips: list[Json]) -> None:
    """Print promotions and rollbacks, one line each."""
    print_table(
        ("AT", "FROM", "TO", "BY", "REASON"),
        [
            (short_time(flip["at"]), flip["from"], flip["to"], flip["actor"], flip["reason"])
            for flip in flips
        ],
        empty="",
    )


def _show(release: Json) -> None:
    promotions = release.pop("promotions")
    print_facts(release)
    click.echo()
    if promotions:
        print_flips(promotions)
    else:
        click.echo("It has not been promoted yet.")


def _show_list(body: Json) -> None:
    print_table(
        ("RELEASE", "STATE", "ADAPTER", "POOL", "CREATED"),
        [
            tuple(release[name] for name in ("number", "state", "adapter", "pool", "created_at"))
            for release in body["releases"]
        ],
        empty="This alias has no releases.",
    )


def _show_flip(flip: Json) -> None:
    click.echo(
        f"{flip['tenant']}/{flip['alias']}: release {flip['to']} serves, {flip['from']} before."
    )
