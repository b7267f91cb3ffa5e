"""What `make run` does: `strop up` on the demo's configuration, and on a first run a demo alias.

python -m deploy.demo.run        # from the repository root
"""

from pathlib import Path

import click

from deploy.demo.company import ROUTING_PROMPT
from gateway.command.main import main
from gateway.command.options import Options, StropCommand, pass_options
from gateway.command.processes import log_to_stderr, near
from gateway.command.up import run_up
from gateway.operations import adapters, aliases, releases
from gateway.operations.resources import Resources, open_resources
from serving.errors import NotFoundError
from serving.settings import Settings, load_settings
from serving.types import Task

HERE = Path(__file__).parent
ALIAS = "support"
TENANT = "default"
QUESTION = "My parcel was due on Monday and it still has not arrived."


@click.command("make run", cls=StropCommand)
@pass_options
def run(options: Options) -> None:
    """Run the demo until Ctrl-C."""
    config = options.config or HERE / "strop.toml"
    settings = load_settings(config)
    log_to_stderr()

    async def welcome(url: str) -> None:
        async with open_resources(settings, url) as resources:
            await make_alias(resources)
        for line in greeting(settings):
            click.echo(line)

    run_up(settings, config, welcome)


async def make_alias(resources: Resources) -> None:
    """Have the demo's alias serve the demo's adapter; a run that was cut short is taken up again."""
    try:
        alias = await aliases.show_alias(resources, ALIAS, TENANT)
    except NotFoundError:
        alias = await aliases.create_alias(
            resources,
            name=ALIAS,
            tenant=TENANT,
            task=Task.CLASSIFY,
            system_prompt=ROUTING_PROMPT,
        )
    known = (await adapters.list_adapters(resources, ALIAS, TENANT))["adapters"]
    if not known:
        await adapters.import_adapter(resources, ALIAS, TENANT, HERE / "adapter")
    if not alias.get("promotions"):
        await releases.promote(
            resources,
            ALIAS,
            TENANT,
            2,
            actor="make run",
            reason="the demo's first adapter",
            is_forced=True,
        )


def greeting(settings: Settings) -> tuple[str, ...]:
    """Return the five lines: address, key file, page, a line to paste, what to try next."""
    address, key = settings.gateway.near_url, near(settings.admin_key)
    return (
        f"address  {address}/v1",
        f"key      {key}",
        f"page     {address}/",
        f'ask      curl -s {address}/v1/chat/completions -H "Authorization: Bearer $(cat {key})" '
        "-H 'Content-Type: application/json' "
        f'-d \'{{"model": "{ALIAS}", "messages": [{{"role": "user", "content": "{QUESTION}"}}]}}\'',
        f"next     .venv/bin/strop status; .venv/bin/strop rollback {ALIAS}; ask again; "
        f"rollback once more. Ctrl-C here stops everything.",
    )


if __name__ == "__main__":
    main(command=run)
