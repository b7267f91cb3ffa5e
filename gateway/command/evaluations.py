"""`strop eval`: what a release scores on its alias's newest evaluation set."""

import click

from gateway.command.options import Options, StropCommand, alias_argument, pass_options
from gateway.command.output import answer, short_time
from gateway.command.progress import CountedLine, live_line
from gateway.command.running import run
from gateway.command.runs import print_scores
from gateway.operations.resources import Json, Resources
from gateway.operations.scoring import evaluate


@click.command("eval", cls=StropCommand)
@alias_argument
@click.option("--release", "number", type=int, help="Which release; default: the champion.")
@pass_options
def eval_(options: Options, name: str, tenant: str, number: int | None) -> None:
    """Score a release on the newest evaluation set, through the engines that would serve it."""

    async def score(resources: Resources) -> Json:
        with live_line() as tell:
            line = CountedLine(tell, "Answered")
            return await evaluate(
                resources, name, tenant, number, on_begin=line.begin, on_answer=line.count
            )

    answer(options, run(options, score), _show)


def _show(body: Json) -> None:
    made = body["evaluation_set"]
    click.echo(
        f"{body['tenant']}/{body['alias']}, release {body['release']}, on evaluation set "
        f"{made['number']} of {short_time(made['dated_at'])}:\n"
    )
    print_scores(body["evaluations"])
