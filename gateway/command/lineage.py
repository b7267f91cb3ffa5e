"""How a release's lineage looks to people."""

import click

from gateway.command.output import print_facts, print_table, short_time
from gateway.operations.resources import Json
from serving.store.lineage import LineageRows


def show_lineage(body: Json) -> None:
    """Print what made a release: first the facts, then its promotions."""
    print_facts(_facts(body))
    click.echo()
    print_table(
        ("PROMOTED AT", "FROM", "BY", "FORCED", "REASON"),
        [
            (short_time(flip["at"]), flip["from"], flip["actor"], flip["is_forced"], flip["reason"])
            for flip in body["promotions"]
        ],
        empty="It has not been promoted yet.",
    )


def show_rows(rows: list[Json]) -> None:
    """Print what a release's rows are of."""
    print_table(
        [name.replace("_", " ").upper() for name in rows[0]] if rows else (),
        [list(row.values()) for row in rows],
        empty="There are none.",
    )


def _facts(body: Json) -> Json:
    release, run, dataset = body["release"], body["run"], body["dataset"]
    facts: Json = {
        "alias": f"{body['tenant']}/{body['alias']}",
        "release": release["number"],
        "adapter": release["adapter"],
    }
    if run is None:
        return facts | {"run": "none: it was not trained here"}
    facts["run"] = f"{run['id']}, {run['trigger']}, {run['actor']}: {run['reason']}"
    if body["decision"]:
        facts["policy"] = body["decision"]["reason"]
    if dataset:
        rows = ", ".join(f"{found['num_rows']} {found['source']}" for found in body["sources"])
        facts["dataset"] = f"{dataset['id']}: {rows}"
        who = ", ".join(f"{body[f'num_{kind}']} {kind}" for kind in LineageRows)
        facts["rows of"] = f"{who}; --rows lists them"
    if run["verdict"]:
        facts["gate"] = f"{run['state']}: {run['verdict']['reason']}"
    for found in body["evaluations"]:
        facts[f"evaluation set {found['evaluation_set']}"] = f"{found['summary']['score']:.3f}"
    return facts
