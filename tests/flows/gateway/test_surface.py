"""The surface as callers see it: routes, errors, documents, health, metrics."""

import asyncio
import json
from pathlib import Path
from typing import Any

import openai
import pytest
from litestar.routes import ASGIRoute, HTTPRoute

from gateway.app import create_app
from gateway.http.routes import Routes
from serving.settings import Settings
from serving.store.database import Database
from tests.gateway import (
    MESSAGES,
    Gateway,
    make_alias,
    make_key,
    make_settings,
    running_gateway,
    until,
)
from tests.upstream_server import Answer, FakeEngine, fake_engine

REFUSED = [
    ("GET", "/v1/nothing", 404),
    ("GET", "/nothing", 404),
    ("GET", "/api/nothing", 404),
    ("GET", "/v1/chat/completions", 405),
    ("PUT", "/v1/feedback", 405),
    ("POST", "/v1/models", 405),
    ("GET", "/v1/models", 401),
    ("GET", "/v1/models/base", 401),
    ("POST", "/v1/chat/completions", 401),
    ("GET", "/api/status", 401),
]

# Tried on one gateway: a start costs more than all of them.
MALFORMED = [
    b"",
    b"{",
    b"[]",
    b'"text"',
    b"null",
    b'{"model":"base","messages":NaN}',
    b'{"model":"base","seed":1e999}',
    b'{"model":"base","messages":"\xff"}',
    b'{"model":"base","user":"\\ud800"}',
    b"\xef\xbb\xbf{}",
    '{"model":"base"}'.encode("utf-16"),
    b'{"a":' * 100_000,
    b"[" * 100_000,
    b'{"model":"base","messages":' + b"[" * 500 + b"]" * 500 + b"}",
    b'{"model":"base"} {"model":"base"}',
    b'{"model":"base","n":' + b"9" * 5000 + b"}",
]


async def get(gateway: Gateway, path: str, key: str | None = None) -> tuple[int, Any, Any]:
    """Return status, headers and body of a GET."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with gateway.session.get(gateway.url + path, headers=headers) as response:
        return response.status, response.headers, await response.text()


async def test_models_are_the_callers_own(
    gateway: Gateway, settings: Settings, database: Database
) -> None:
    """Own and shared aliases and the base; never another tenant's, never pinned names."""
    await make_alias(database, settings, "support")
    await make_alias(database, settings, "theirs", tenant="other")
    await make_alias(database, settings, "everyones", tenant="other", is_shared=True)
    narrow = await make_key(database, aliases=["support"])
    await until(lambda: gateway.runtime.catalog.principal_of(narrow) is not None)
    _, _, body = await get(gateway, "/v1/models", gateway.key)
    listed = json.loads(body)
    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == ["base", "everyones", "support"]
    _, _, body = await get(gateway, "/v1/models", narrow)
    assert [model["id"] for model in json.loads(body)["data"]] == ["support"]


async def test_a_model_is_found_by_its_name(
    tmp_path: Path, database: Database, engine: FakeEngine
) -> None:
    """By OpenAI's client: whatever may be put into `model`, a name with a slash too; else 404."""
    settings = make_settings(tmp_path, engine)
    short = settings.engine.model_copy(update={"served_name": "org/base"})
    settings = settings.model_copy(update={"engine": short})
    await make_alias(database, settings, "support")
    await make_alias(database, settings, "theirs", tenant="other")
    async with (
        running_gateway(settings, database) as gateway,
        openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key) as client,
    ):
        for name in ("support", "support@1", "org/base"):
            found = await client.models.retrieve(name)
            assert (found.id, found.object, found.owned_by) == (name, "model", "strop")
        for name in ("theirs", "nothing", "support@2", "org", "a\0b"):
            with pytest.raises(openai.NotFoundError) as caught:
                await client.models.retrieve(name)
            assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


async def test_every_error_has_openais_shape(gateway: Gateway) -> None:
    """Clients read one shape, whoever refused: the route, the method, the key."""
    for method, path, status in REFUSED:
        await check_refusal(gateway, method, path, status)


async def check_refusal(gateway: Gateway, method: str, path: str, status: int) -> None:
    """Send a request that is refused; check status, shape and headers."""
    async with gateway.session.request(method, gateway.url + path) as response:
        assert response.status == status
        assert response.content_type == "application/json"
        error = (await response.json())["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"]
        assert (status == 401) is ("www-authenticate" in response.headers)
        assert (status == 405) is ("allow" in response.headers)
        assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/feedback"])
async def test_malformed_bodies_are_400(gateway: Gateway, engine: FakeEngine, path: str) -> None:
    """No bytes make a 5xx, and none of these reach an engine."""
    for body in MALFORMED:
        answer = await gateway.post(path, body)
        assert answer.status == 400, body[:40]
        assert answer.error["type"] == "invalid_request_error"
    assert engine.calls == []


async def test_only_json_is_read(gateway: Gateway) -> None:
    """What a foreign page could post without asking is not read."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = await gateway.post("/v1/chat/completions", b"{}", {"Content-Type": kind})
        assert answer.status == 400


@pytest.mark.parametrize("is_announced", [True, False])
async def test_a_body_over_the_limit_is_413(
    tmp_path: Path, database: Database, engine: FakeEngine, is_announced: bool
) -> None:
    """Announced or chunked, it is refused without being kept."""
    settings = make_settings(tmp_path, engine, max_body_bytes=2048)

    async def pieces() -> Any:
        for _ in range(40):
            yield b" " * 100

    data: Any = b" " * 4000 if is_announced else pieces()
    async with running_gateway(settings, database) as gateway:
        answer = await gateway.post("/v1/chat/completions", data)
    assert (answer.status, answer.error["code"]) == (413, "payload_too_large")


async def test_an_injected_key_is_just_wrong(gateway: Gateway) -> None:
    """The key check touches no database; odd bytes are no key."""
    for key in ("x' OR pg_sleep(8) --", "", "ключ", "a" * 60_000):
        headers = {"Authorization": f"Bearer {key}"}
        answer = await gateway.post("/v1/chat/completions", b"{}", headers)
        assert answer.status == 401


async def test_the_official_client_gets_its_own_error_classes(
    gateway: Gateway, engine: FakeEngine
) -> None:
    """`openai` maps every refusal to the class that its users catch."""
    client = openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0)
    stranger = client.with_options(api_key="sk-wrong")

    async def ask(who: openai.AsyncOpenAI, **fields: Any) -> Any:
        return await who.chat.completions.create(
            **{"model": "base", "messages": MESSAGES, **fields}
        )

    async with client:
        assert (await ask(client)).choices[0].message.content == "Hello there!"
        stream = await ask(client, stream=True)
        words = [chunk.choices[0].delta.content async for chunk in stream if chunk.choices]
        assert words == ["Hello", " there", "!"]
        for fields, expected in (
            ({"model": "nobody"}, openai.NotFoundError),
            ({"n": 100}, openai.BadRequestError),
        ):
            with pytest.raises(expected):
                await ask(client, **fields)
        with pytest.raises(openai.AuthenticationError):
            await ask(stranger)
        engine.script = lambda _: Answer(status=500)
        with pytest.raises(openai.InternalServerError):
            await ask(client)


async def test_an_error_inside_a_stream_raises_in_the_official_client(
    gateway: Gateway, engine: FakeEngine
) -> None:
    """An answer that was cut short does not look whole to `openai`."""
    engine.script = lambda _: Answer(
        headers={"content-type": "text/event-stream"},
        pieces=[b'data: {"id":"1","object":"chat.completion.chunk","choices":[]}\n\n'],
    )
    client = openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0)
    async with client:
        stream = await client.chat.completions.create(model="base", messages=MESSAGES, stream=True)
        with pytest.raises(openai.APIError, match="DONE"):
            _ = [chunk async for chunk in stream]


async def test_health_says_why_not(
    tmp_path: Path, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Live is about the process; ready is about keys and engines, with reasons."""
    async with fake_engine() as engine:
        engine.is_healthy = False
        caplog.set_level("INFO", "strop.serving")
        async with running_gateway(make_settings(tmp_path, engine), database) as gateway:
            assert (await get(gateway, "/health/live"))[0] == 200
            status, _, body = await get(gateway, "/health/ready")
            assert status == 503
            assert "No engine is healthy" in json.loads(body)["reasons"][0]
            # Everybody may ask: which pools there are is for the log.
            assert "default" not in body
            async with asyncio.timeout(30):
                while f"{engine.url} is not healthy" not in caplog.text:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            engine.is_healthy = True
            async with asyncio.timeout(30):
                while (await get(gateway, "/health/ready"))[0] != 200:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)


async def test_a_dead_task_takes_readiness_with_it(gateway: Gateway) -> None:
    """A worker that follows no catalogue any more has to be replaced, not sent traffic."""
    assert (await get(gateway, "/health/ready"))[0] == 200
    gateway.runtime.background[1].cancel()
    await asyncio.wait(gateway.runtime.background[1:2])
    status, _, body = await get(gateway, "/health/ready")
    assert status == 503
    assert "background task" in json.loads(body)["reasons"][0]


async def test_metrics_count_what_happened(gateway: Gateway) -> None:
    """Requests, tokens and times by alias, release and arm."""
    await gateway.chat()
    await gateway.chat(stream=True)
    await gateway.chat(n=100)
    _, headers, text = await get(gateway, "/metrics")
    base = 'alias="base",arm="base",release="-"'
    ended = f'{base},status="ok",tenant="-"'
    assert f"strop_requests_total{{{ended}}} 2.0" in text
    assert f"strop_end_to_end_seconds_count{{{ended}}} 2.0" in text
    tokens = 'alias="base",arm="base",direction="completion",release="-",tenant="-"'
    assert f"strop_tokens_total{{{tokens}}} 6.0" in text
    assert f'strop_first_token_seconds_count{{{base},tenant="-"}} 1.0' in text
    assert 'strop_errors_total{code="invalid_value"} 1.0' in text
    in_flight = 'alias="base",arm="base",pool="default",release="-",tenant="-"'
    assert f"strop_in_flight{{{in_flight}}} 0.0" in text
    assert headers["content-type"].startswith("text/plain")


def test_the_openapi_document_lists_every_route(settings: Settings) -> None:
    """A raw route that is not documented, or one that is documented and not there, fails here."""
    app = create_app(settings, "postgresql://nowhere", Routes())
    served = {
        route.path_format
        for route in app.routes
        if isinstance(route, ASGIRoute) or (isinstance(route, HTTPRoute) and is_documented(route))
    }
    assert set(app.openapi_schema.paths or {}) == served


def is_documented(route: HTTPRoute) -> bool:
    """Whether a route belongs into the document; pages for people do not."""
    return any(handler.resolve_include_in_schema() for handler in route.route_handlers)


async def test_the_document_is_served_without_foreign_scripts(gateway: Gateway) -> None:
    """JSON at /schema/openapi.json; no page that loads from elsewhere."""
    status, _, body = await get(gateway, "/schema/openapi.json")
    assert status == 200
    assert "/v1/chat/completions" in json.loads(body)["paths"]
    assert "cdn" not in body
