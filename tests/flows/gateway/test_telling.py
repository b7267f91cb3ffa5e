"""What logs and metrics tell of requests: never what was said, nor a key, nor more for strangers."""

import asyncio
import logging

import pytest
from litestar.exceptions import ImproperlyConfiguredException

from gateway.logs import JsonFormatter
from serving.routing.catalog import Catalog
from tests.canary import CANARY, said_in_every_way
from tests.gateway import Gateway
from tests.upstream_server import FakeEngine


async def metrics_of(gateway: Gateway) -> str:
    """Return what Prometheus gets."""
    async with gateway.session.get(gateway.url + "/metrics") as response:
        return await response.text()


async def test_nothing_that_was_said_is_told(
    gateway: Gateway, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """Prompt, answer, user, key: in no log line and no metric, whatever goes wrong."""
    caplog.set_level(logging.DEBUG)
    async for _ in said_in_every_way(gateway, engine):
        pass
    lines = [JsonFormatter().format(record) for record in caplog.records]
    told = "\n".join([*lines, await metrics_of(gateway)])
    assert lines
    assert CANARY not in told
    assert gateway.key not in told


async def test_strangers_make_no_new_series(gateway: Gateway) -> None:
    """Names that clients think up are no labels: any number of them costs what one costs."""
    await gateway.chat()
    await gateway.chat(model="unknown")
    async with asyncio.timeout(60):
        while "strop_replica_in_flight{" not in await metrics_of(gateway):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    before = (await metrics_of(gateway)).count("\n")
    for number in range(30):
        await gateway.chat(model=f"unknown-{number}")
        await gateway.chat(model=f"base@{number}")
    assert (await metrics_of(gateway)).count("\n") == before


async def test_an_error_is_counted_by_its_code_whoever_answers_it(gateway: Gateway) -> None:
    """The framework too, and where the dialect has another word for it."""
    told = {
        "/nowhere": "not_found",
        "/v1/messages": "method_not_allowed",
        "/api/keys": "missing_api_key",
    }
    for path in told:
        async with gateway.session.get(gateway.url + path) as answer:
            assert answer.status >= 400
    text = await metrics_of(gateway)
    for code in told.values():
        assert f'strop_errors_total{{code="{code}"}} 1.0' in text


async def test_a_head_that_nobody_sees_is_counted(gateway: Gateway) -> None:
    """Who knocks with heads that cannot be read is seen by whoever watches errors."""
    async with asyncio.timeout(60):
        port = int(gateway.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /v1/models HTTP/1.1\r\n\r\n")  # it has no host
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        writer.close()
    assert 'strop_errors_total{code="malformed_request"} 1.0' in await metrics_of(gateway)


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("POST", "/v1/chat/completions", LookupError),
        ("POST", "/v1/feedback", LookupError),
        ("GET", "/v1/models", LookupError),
        ("GET", "/v1/models", ImproperlyConfiguredException),
    ],
)
async def test_a_bug_is_logged_and_counted(
    gateway: Gateway,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    method: str,
    path: str,
    kind: type[Exception],
) -> None:
    """Whoever answers a path: an alarm on `strop_errors_total` hears of it, under the answer's code.

    The framework's own faults too; their words are not for strangers.
    """

    def fail(*_: object) -> None:
        raise kind("a bug")

    monkeypatch.setattr(Catalog, "principal_of", fail)
    headers = {"Authorization": f"Bearer {gateway.key}"}
    async with gateway.session.request(method, gateway.url + path, headers=headers) as answer:
        assert answer.status == 500
        error = (await answer.json())["error"]
    assert "a bug" not in error["message"]
    assert kind.__name__ in caplog.text
    assert f'strop_errors_total{{code="{error["code"]}"}} 1.0' in await metrics_of(gateway)
