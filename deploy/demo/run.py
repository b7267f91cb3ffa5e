"""What `make run` does: `strop up`, and on a first run of the demo's base model a demo alias.

The configuration is the one that every command reads; where there is none, the demo's.

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
from serving.settings import DEFAULT_CONFIG, Settings, find_config, load_settings
from serving.types import Task

HERE = Path(__file__).resolve().parent
ALIAS = "support"
TENANT = "default"
QUESTION = "My parcel was due on Monday and it still has not arrived."


@click.command("make run", cls=StropCommand)
@pass_options
def run(options: Options) -> None:
    """Run the demo until Ctrl-C."""
    config = find_config(options.config) or HERE / "strop.toml"
    settings = load_settings(config)
    log_to_stderr()

    async def prepare(url: str) -> None:
        async with open_resources(settings, url) as resources:
            await make_alias(resources)

    def greet() -> None:
        for line in greeting(settings, config):
            click.echo(line)

    run_up(settings, config, greet, prepare if serves_demo(settings) else None)


def serves_demo(settings: Settings) -> bool:
    """Whether the demo's adapter fits: it was trained for the demo's base model only."""
    return Path(settings.all_pools[0].base_model).resolve() == HERE / "base"


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
        found = (await releases.list_releases(resources, ALIAS, TENANT))["releases"]
        await releases.promote(
            resources,
            ALIAS,
            TENANT,
            min(release["number"] for release in found if release["adapter"]),
            actor="make run",
            reason="the demo's first adapter",
            is_forced=True,
        )


def greeting(settings: Settings, config: Path) -> tuple[str, ...]:
    """Return the five lines: address, key file, page, a line to paste, what to try next.

    Args:
        config: the file that `settings` came from; commands typed beside this have to read it too.
    """
    address, key = settings.gateway.near_url, near(settings.admin_key)
    model = ALIAS if serves_demo(settings) else settings.all_pools[0].served_name
    strop = ".venv/bin/strop"
    if config != DEFAULT_CONFIG:
        strop += f" --config {near(config.absolute())}"
    next_step = (
        f"{strop} rollback {ALIAS}; ask again; rollback once more"
        if serves_demo(settings)
        else f"{strop} aliases create NAME --task chat"
    )
    return (
        f"address  {address}/v1",
        f"key      {key}",
        f"page     {address}/",
        f'ask      curl -s {address}/v1/chat/completions -H "Authorization: Bearer $(cat {key})" '
        "-H 'Content-Type: application/json' "
        f'-d \'{{"model": "{model}", "messages": [{{"role": "user", "content": "{QUESTION}"}}]}}\'',
        f"next     {strop} status; {next_step}. Ctrl-C here stops everything.",
    )


if __name__ == "__main__":
    main(command=run)
