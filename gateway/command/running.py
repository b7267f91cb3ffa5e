"""How a one-shot command does its work: the store opened, one operation, everything closed."""

import asyncio
from collections.abc import Awaitable, Callable

from sqlalchemy.exc import DataError

from gateway.command.options import Options
from gateway.operations.resources import Json, Resources, open_resources, unfit
from serving.home import require_home
from serving.settings import Settings, load_settings
from serving.store.embedded import open_store

CONSOLE = "console"
"""The actor of what is done by the command on this machine."""

Operation = Callable[[Resources], Awaitable[Json]]


def settings_of(options: Options) -> Settings:
    """Read the configuration that the command line names.

    Raises:
        ConfigurationError: it is wrong.
    """
    return load_settings(options.config)


def run(options: Options, operation: Operation) -> Json:
    """Run one operation with the store open; stop afterwards what this started.

    Raises:
        ConfigurationError: there is no home yet, or its database does not start.
        UnavailableError: the database does not answer.
    """
    settings = settings_of(options)
    require_home(settings)
    with open_store(settings) as url:
        return asyncio.run(_run(settings, url, operation))


async def _run(settings: Settings, url: str, operation: Operation) -> Json:
    async with open_resources(settings, url) as resources:
        try:
            return await operation(resources)
        except DataError as error:
            raise unfit(error) from error
