"""`strop reviews`: judge sampled answers."""

import click

from gateway.command.options import Options, StropGroup, alias_argument, pass_options
from gateway.command.output import answer
from gateway.command.running import CONSOLE, run
from gateway.operations import reviews as operations
from gateway.operations.resources import Json
from serving.store.learning import Verdict


@click.group(cls=StropGroup)
def reviews() -> None:
    """Judge a sample of answers: what reviewers find wrong and correct is learned."""


@reviews.command()
@alias_argument
@pass_options
def next(options: Options, name: str, tenant: str) -> None:  # noqa: A001 - the command's name
    """Hand out the oldest answer that waits for a verdict."""
    found = run(
        options,
        lambda resources: operations.next_review(resources, name, tenant, reviewer=CONSOLE),
    )
    answer(options, found, lambda body: _show_next(f"{tenant}/{name}", body))


@reviews.command()
@click.argument("inference_id", metavar="INFERENCE")
@click.option("--verdict", type=click.Choice([word.value for word in Verdict]), required=True)
@click.option("--corrected", help="What the answer should have been.")
@click.option(
    "--accept-demonstration", metavar="FEEDBACK", help="A user's demonstration that is right."
)
@pass_options
def submit(
    options: Options,
    inference_id: str,
    verdict: str,
    corrected: str | None,
    accept_demonstration: str | None,
) -> None:
    """Say whether an answer was right, and what would have been."""
    kept = run(
        options,
        lambda resources: operations.submit_review(
            resources,
            inference_id,
            reviewer=CONSOLE,
            verdict=Verdict(verdict),
            corrected=corrected,
            accept_demonstration=accept_demonstration,
        ),
    )
    answer(options, kept, lambda body: click.echo(f"{body['inference_id']} is {body['verdict']}."))


def _show_next(alias: str, body: Json) -> None:
    review = body["review"]
    if review is None:
        click.echo(f"No answer of {alias} waits for a review.")
        return
    for turn in review["prompt"]:
        _show_turn(turn["role"], turn.get("content"))
    _show_turn("answer", review["answer"])
    for found in review["demonstrations"]:
        _show_turn(f"a user would say ({found['feedback_id']})", found["text"])
    click.echo(f"\nNext: strop reviews submit {review['inference_id']} --verdict correct|incorrect")


def _show_turn(who: str, content: object) -> None:
    click.echo(f"{click.style(f'{who}:', bold=True)} {content}")
