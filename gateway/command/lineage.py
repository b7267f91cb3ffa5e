"""How a release's lineage looks to people."""

import click

from gateway.command.output import print_facts, print_table, short_time
from gateway.operations.resources import Json


def show_lineage(body: Json) -> None:
    """Print what made a release: first the facts, then who had a hand in it."""
    print_facts(_facts(body))
    for title, who in (("IMPORT", "imports"), ("RATER", "raters"), ("REVIEWER", "reviewers")):
        if body[who]:
            click.echo()
            print_table(
                (title, "ROWS"),
                [(_name(found), found["num_rows"]) for found in body[who]],
                empty="",
            )
    click.echo()
    print_table(
        ("PROMOTED AT", "FROM", "BY", "FORCED", "REASON"),
        [
            (short_time(flip["at"]), flip["from"], flip["actor"], flip["is_forced"], flip["reason"])
            for flip in body["promotions"]
        ],
        empty="It has not been promoted yet.",
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
    if run["verdict"]:
        facts["gate"] = f"{run['state']}: {run['verdict']['reason']}"
    for found in body["evaluations"]:
        facts[f"evaluation set {found['evaluation_set']}"] = f"{found['summary']['score']:.3f}"
    return facts


def _name(found: Json) -> str:
    if "file" in found:
        return f"{found['id']}: {found['file']}, by {found['actor']} {short_time(found['at'])}"
    return str(found.get("rater") or found.get("reviewer"))
