"""`strop purge`: deletes the oldest days by hand, as the worker does by the clock."""

import sys
from datetime import datetime
from functools import partial

import click

from gateway.command.options import Options, StropCommand, pass_options
from gateway.command.output import answer, print_facts, print_table
from gateway.command.running import run
from gateway.operations import purge as operations
from gateway.operations.resources import Json
from serving.errors import InvalidRequestError


@click.command(cls=StropCommand)
@click.option(
    "--before",
    type=click.DateTime(["%Y-%m-%d"]),
    help="The first UTC day that stays; default: by store.retention_days.",
)
@click.option("--dry-run", "is_dry_run", is_flag=True, help="Only say what would go.")
@click.option("--yes", "is_sure", is_flag=True, help="Delete it; there is no way back.")
@pass_options
def purge(options: Options, before: datetime | None, is_dry_run: bool, is_sure: bool) -> None:
    """Delete the oldest requests, answers and ratings."""
    if not (is_dry_run or is_sure):
        raise InvalidRequestError(
            "What is purged cannot be brought back: look with --dry-run, then say --yes.",
            param="yes",
        )
    day = before.date() if before else None
    body = run(options, partial(operations.purge, before=day, is_dry_run=is_dry_run))
    answer(options, body, _show)
    if body["stuck"]:
        sys.exit(1)


def _show(body: Json) -> None:
    print_table(
        ("DAY", "INFERENCES"),
        [(found["day"], found["inferences"]) for found in body["days"]],
        empty=f"No day before {body['before']} is there.",
    )
    click.echo()
    print_facts({kind: body[kind] for kind in ("ratings", "reviews", "segments", "files")})
    click.echo("This would be deleted." if body["is_dry_run"] else "This was deleted.")
    if body["stuck"]:
        click.echo(body["stuck"], err=True)
