"""A gateway that starts before its database: it waits, says so, and serves once it has its keys."""

import asyncio
import logging
from pathlib import Path

import pytest

from gateway.runtime import open_runtime
from serving.errors import UnavailableError
from serving.store.embedded import DATABASE, PostgresServer, create_database, database_url
from tests.gateway import make_settings, until


async def test_a_gateway_waits_for_its_database(
    tmp_path: Path, postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    """It serves nothing until it has a catalogue, tries again and again, and needs no restart."""
    url = database_url(postgres, "comes_late")
    with caplog.at_level(logging.WARNING, "strop.gateway"):
        async with open_runtime(make_settings(tmp_path), url) as runtime:
            await until(lambda: "cannot be read" in caplog.text)
            with pytest.raises(UnavailableError, match="has not read its keys"):
                assert runtime.catalog
            assert "comes_late" in caplog.text
            await asyncio.to_thread(create_database, postgres, "comes_late", template=DATABASE)
            await until(lambda: runtime.follower.is_loaded)
            assert not any(task.done() for task in runtime.background)
