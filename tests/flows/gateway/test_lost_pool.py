"""An alias whose pool was taken out of the configuration: what clients and operators are told."""

import logging

import psycopg
import pytest

from gateway.command.home_checks import check_pools
from gateway.operations.resources import Resources
from gateway.operations.status import show_status
from serving.settings import Settings
from serving.store.database import Database
from tests.gateway import Gateway, make_alias, until


async def test_a_pool_that_is_gone_is_503_without_its_name(
    gateway: Gateway, settings: Settings, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Clients did nothing wrong and learn no names; log, doctor and status say which pool."""
    await make_alias(database, settings, "support")
    await until(lambda: bool(gateway.runtime.catalog.aliases))
    with (
        caplog.at_level(logging.ERROR, "strop.gateway"),
        psycopg.connect(database.url, autocommit=True) as connection,
    ):
        assert list(check_pools(connection, {"default"})) == []
        connection.execute("UPDATE strop_release SET pool = 'sold-gpu'")
        for _ in range(2):
            connection.execute("NOTIFY strop_catalog")
            await gateway.runtime.follower.reload()
        (lost,) = check_pools(connection, {"default"})
    answer = await gateway.chat(model="support")
    assert (answer.status, answer.error["code"]) == (503, "no_engine")
    assert int(answer.headers["retry-after"]) >= 1
    for name in (b"sold-gpu", b"default", b"strop.toml"):
        assert name not in answer.body
    (told,) = [record for record in caplog.records if "sold-gpu" in record.getMessage()]
    assert "support" in told.getMessage()
    assert lost.is_fault
    assert "sold-gpu" in lost.message
    shown = await show_status(Resources(database, settings, gateway.runtime.engines))
    assert "sold-gpu" in shown["aliases"][0]["summary"]
