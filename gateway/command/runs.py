"""`strop train` and `strop runs`."""

import sys

import click

from gateway.command.options import (
    Options,
    StropCommand,
    StropGroup,
    alias_argument,
    optional_alias_argument,
    pass_options,
    tenant_option,
)
from gateway.command.output import answer, print_facts, print_table, short_time
from gateway.command.progress import live_line
from gateway.command.running import CONSOLE, run
from gateway.operations import runs as operations
from gateway.operations.resources import Json, Resources
from gateway.operations.sentences import tell_size
from serving.store.learning import RunState


@click.command(cls=StropCommand)
@alias_argument
@click.option("--dataset", "dataset_id", type=int, help="On which dataset; default: a new one.")
@click.option("--wait", "is_waiting", is_flag=True, help="Wait; exit 1 unless the gate passes it.")
@pass_options
def train(
    options: Options, name: str, tenant: str, dataset_id: int | None, is_waiting: bool
) -> None:
    """Queue a run: dataset, training, evaluation, gate. A worker of `strop up` takes it up.

    What passes is a candidate release, which `strop promote` swaps in.
    """

    async def begin(resources: Resources) -> Json:
        begun = await operations.start_run(
            resources, name, tenant, actor=CONSOLE, dataset_id=dataset_id
        )
        if not is_waiting:
            return begun
        with live_line() as tell:
            return await operations.wait_for_run(
                resources, begun["id"], lambda look: tell(look["summary"])
            )

    found = run(options, begin)
    answer(options, found, _show_ended if is_waiting else _show_begun)
    if is_waiting and found["state"] != RunState.PASSED:
        sys.exit(1)


@click.group(cls=StropGroup)
def runs() -> None:
    """List, show and cancel training runs."""


@runs.command("list")
@optional_alias_argument
@tenant_option
@pass_options
def list_(options: Options, name: str | None, tenant: str) -> None:
    """List runs, all or those of one ALIAS, newest first."""
    found = run(options, lambda resources: operations.list_runs(resources, name, tenant))
    answer(options, found, _show_list)


@runs.command()
@click.argument("number", metavar="RUN", type=int)
@pass_options
def show(options: Options, number: int) -> None:
    """Show a run: how far it is, how it ended, and the scores that it was judged by."""
    answer(options, run(options, lambda resources: operations.show_run(resources, number)), _show)


@runs.command()
@click.argument("number", metavar="RUN", type=int)
@pass_options
def cancel(options: Options, number: int) -> None:
    """Ask for a run's end; the worker brings it about."""
    asked = run(options, lambda resources: operations.cancel_run(resources, number))
    answer(options, asked, lambda body: click.echo(body["summary"]))


def print_scores(evaluations: list[Json]) -> None:
    """Print what releases scored, one line each."""
    print_table(
        ("RELEASE", "EVALUATION SET", "ITEMS", "SCORE", "95 %", "METRICS"),
        [
            (
                score["release"],
                score["evaluation_set"],
                score["num_items"],
                f"{score['score']:.3f}",
                f"{score['low']:.3f} to {score['high']:.3f}",
                ", ".join(f"{name} {value:.3f}" for name, value in score["metrics"].items()),
            )
            for score in evaluations
        ],
        empty="No release was evaluated on it yet.",
    )


def _show_begun(body: Json) -> None:
    click.echo(f"Run {body['id']} is queued. `strop runs show {body['id']}` tells how far it is.")


def _show_ended(body: Json) -> None:
    _show(body)
    if body["state"] == RunState.PASSED:
        click.echo(f"\nNext: strop promote {body['tenant']}/{body['alias']} {body['release']}")


def _show(body: Json) -> None:
    print_facts(
        {
            "run": body["id"],
            "alias": f"{body['tenant']}/{body['alias']}",
            "state": body["state"],
            "now": body["summary"],
            "begun by": f"{body['trigger']}, {body['actor']}: {body['reason']}",
            "period": body["period"],
            "dataset": body["dataset"],
            "trains": tell_size(body["progress"]),
            "release": body["release"],
            "against": body["champion"],
            "created": short_time(body["created_at"]),
            "started": short_time(body["started_at"]),
            "ended": short_time(body["ended_at"]),
        }
    )
    if body["evaluations"]:
        click.echo()
        print_scores(body["evaluations"])


def _show_list(body: Json) -> None:
    print_table(
        ("RUN", "ALIAS", "STATE", "TRIGGER", "RELEASE", "CREATED", "ENDED"),
        [
            (
                found["id"],
                f"{found['tenant']}/{found['alias']}",
                found["state"],
                found["trigger"],
                found["release"],
                short_time(found["created_at"]),
                short_time(found["ended_at"]),
            )
            for found in body["runs"]
        ],
        empty="There are no runs. `strop train ALIAS` begins one.",
    )
