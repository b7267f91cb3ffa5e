"""`/api` in front of a database that keeps its connections and says nothing."""

import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from serving.store.database import Database
from serving.types import Role
from tests.gateway import Gateway, make_key, until

_BACKENDS = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


@asynccontextmanager
async def frozen(database: Database) -> AsyncIterator[None]:
    """Stop the server: who would take new connections, then whoever works on this database."""
    async with await psycopg.AsyncConnection.connect(database.url) as connection:
        stopped = [_parent_of(connection.info.backend_pid)]
        os.kill(stopped[0], signal.SIGSTOP)
        try:
            for (pid,) in await (await connection.execute(_BACKENDS)).fetchall():
                os.kill(pid, signal.SIGSTOP)
                stopped.append(pid)
            yield
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)


def _parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def test_a_frozen_database_is_503_on_api_and_nothing_on_v1(
    gateway: Gateway,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Operators hear it soon, with Retry-After; apps go on; the log names the call."""
    key = await make_key(database, role=Role.ADMIN)
    headers = {"Authorization": f"Bearer {key}"}
    await until(lambda: gateway.runtime.catalog.principal_of(key) is not None)
    async with gateway.session.get(f"{gateway.url}/api/keys", headers=headers) as answer:
        assert answer.status == 200
    monkeypatch.setattr("gateway.api.deadline._ANSWER_SECONDS", 0.3)
    async with frozen(database):
        begun_at = time.monotonic()
        for path in ("/api/keys", "/api/status", "/api/aliases"):
            async with gateway.session.get(gateway.url + path, headers=headers) as answer:
                assert answer.status == 503
                assert answer.headers["retry-after"] == "5"
                assert (await answer.json())["error"]["code"] == "unavailable"
            assert f"GET {path}" in caplog.text
        assert time.monotonic() - begun_at < 20
        assert (await gateway.chat()).status == 200
