"""A gateway in front of one engine, with a key of the tenant `default`."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from serving.settings import Settings
from serving.store.database import Database
from tests.gateway import Gateway, is_well, make_settings, running_gateway
from tests.upstream_server import FakeEngine, fake_engine


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    """An engine that answers like vLLM until a test says otherwise."""
    async with fake_engine() as found:
        yield found


@pytest.fixture
def settings(tmp_path: Path, engine: FakeEngine) -> Settings:
    """A new home with one pool of that engine."""
    return make_settings(tmp_path, engine)


@pytest.fixture
async def gateway(settings: Settings, database: Database) -> AsyncIterator[Gateway]:
    """A running gateway whose engine is proved."""
    async with running_gateway(settings, database) as found:
        await is_well(found)
        yield found
