"""`strop status`: what runs and what is served."""

import click

from gateway.command.options import Options, StropCommand, pass_options
from gateway.command.output import answer, print_facts, print_table
from gateway.command.running import run
from gateway.operations.resources import Json
from gateway.operations.status import show_status


@click.command(cls=StropCommand)
@pass_options
def status(options: Options) -> None:
    """Show what runs and what is served."""
    answer(options, run(options, show_status), _show)


def _show(body: Json) -> None:
    print_facts(
        {
            "home": body["home"],
            "address": body["address"],
            "journal": tell_journal(body["journal"]),
            "records": tell_records(body["records"]),
        }
    )
    click.echo()
    print_table(
        ("PID", "PROCESS", "MEMORY"),
        [
            (process["pid"], process["command"], f"{process['rss_bytes'] / 2**20:.0f} MiB")
            for process in body["processes"]
        ],
        empty="`strop up` does not run on this home.",
    )
    click.echo()
    print_table(
        ("POOL", "REPLICA", "HEALTHY", "ADAPTERS", "ERROR"),
        [
            (
                pool["name"],
                replica["url"],
                replica["is_healthy"],
                ", ".join(replica["adapters"]),
                replica["error"],
            )
            for pool in body["pools"]
            for replica in pool["replicas"]
        ],
        empty="There are no pools.",
    )
    click.echo()
    for alias in body["aliases"]:
        click.echo(alias["summary"])
        click.echo(f"  Used this month: {tell_usage(alias)}")
        click.echo(f"  Learning: {alias['learning']}")


def tell_usage(alias: Json) -> str:
    """Say how many tokens were used, of how many, and what they cost if that is known."""
    said = [f"{alias['tokens_this_month']} tokens"]
    if alias["budget"] is not None:
        said.append(f"of {alias['budget']}")
    if alias["cost_this_month"] is not None:
        said.append(f"for {alias['cost_this_month']:.2f}")
    return " ".join(said)


def tell_journal(journal: Json) -> str:
    """Say what waits for ingest, and what could not be stored, which is seldom anything."""
    said = [f"{journal['unread_bytes']} bytes not in the database yet"]
    if journal["unread_bytes"]:
        said.append(f"the oldest for {journal['lag_seconds']:.1f} s")
    if journal["damaged_segments"]:
        said.append(f"{journal['damaged_segments']} damaged segments set aside")
    if journal["rejected_files"]:
        said.append(f"{journal['rejected_files']} files of rejected records kept")
    return ", ".join(said)


def tell_records(records: Json) -> str:
    """Say since when requests and answers are there, and how long they stay."""
    days = records["retention_days"]
    kept = "kept for ever" if days is None else f"kept for {days} days"
    since = f"since {records['oldest_day']}" if records["oldest_day"] else "none yet"
    said = [since, kept]
    if records["detached_days"]:
        said.append(f"{', '.join(records['detached_days'])} half purged: purge again")
    return ", ".join(said)
