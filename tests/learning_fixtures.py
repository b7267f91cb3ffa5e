"""Fixtures of the rooms' folders that learn; their `conftest.py` names the ones they want."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from serving.ids import make_sign_key
from serving.sections import LearningSettings, PoolSettings
from serving.settings import Settings
from serving.store.aliases import create_alias
from serving.store.database import Database
from serving.types import Task
from tests.learning import World
from tests.training import make_base


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model that nobody runs."""
    return make_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def settings(tmp_path: Path, tiny_base: Path) -> Settings:
    """One pool with one engine; 100 rows are enough to train."""
    home = tmp_path / "home"
    home.mkdir()
    make_sign_key(home / "sign.key")
    return Settings(
        home=home,
        pools=(PoolSettings(name="default", base_model=str(tiny_base), urls=("http://engine",)),),
        learning=LearningSettings(min_examples=100, min_new_examples=20),
    )


@pytest.fixture
async def world(database: Database, settings: Settings, tiny_base: Path) -> AsyncIterator[World]:
    """The alias `support` of tenant `acme`, served by the bare base, and all that learns for it."""
    async with database.session() as session:
        alias = await create_alias(
            session,
            settings,
            name="support",
            tenant="acme",
            task=Task.CLASSIFY,
            system_prompt="Be brief.",
        )
    made = World(database, settings, tiny_base, alias)
    yield made
    await made.shop.client.aclose()
