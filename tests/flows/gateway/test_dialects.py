"""/v1/responses, /v1/messages and /v1/embeddings as callers see them, by the official clients too."""

import json
from typing import Any

import anthropic
import openai
import pytest

from serving.settings import Settings
from serving.store.database import Database
from serving.types import InferenceStatus
from tests.gateway import MESSAGES, Gateway, make_alias, promote_adapter, until
from tests.upstream_server import Answer, FakeEngine, Fault, events, no_such_route

BODIES: dict[str, dict[str, Any]] = {
    "/v1/responses": {"model": "base", "input": "Where is my parcel?"},
    "/v1/messages": {"model": "base", "messages": MESSAGES, "max_tokens": 16},
    "/v1/embeddings": {"model": "base", "input": ["Where is my parcel?", "And now?"]},
}
STREAMING = ["/v1/responses", "/v1/messages"]


def body_of(path: str, **fields: Any) -> bytes:
    """Return a body for an endpoint."""
    return json.dumps(BODIES[path] | fields).encode()


async def test_the_official_openai_client_gets_responses(
    gateway: Gateway, engine: FakeEngine
) -> None:
    """Plain and streamed; our id comes back, and can be rated as the client saw it."""
    client = openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0)
    async with client:
        raw = await client.responses.with_raw_response.create(model="base", input="Hello")
        plain = raw.parse()
        assert plain.output_text == "Hello there!"
        assert plain.id == "resp_" + raw.headers["x-strop-inference-id"]
        stream = await client.responses.create(model="base", input="Hello", stream=True)
        found = [event async for event in stream]
        deltas = [event.delta for event in found if event.type == "response.output_text.delta"]
        assert deltas == ["Hello", " there", "!"]
        assert found[-1].type == "response.completed"
        with pytest.raises(openai.BadRequestError, match="nothing is kept"):
            await client.responses.create(model="base", input="a", previous_response_id="resp_1")
    sent = engine.calls[0].json
    assert (sent["store"], sent["request_id"]) == (False, plain.id)
    assert "cache_salt" in sent
    assert "stream_options" not in engine.calls[1].json
    rating = json.dumps({"inference_id": plain.id, "rating": "up"}).encode()
    assert (await gateway.post("/v1/feedback", rating)).status == 200
    await gateway.ended(2)
    assert {begin.endpoint for begin in gateway.begins()} == {"/v1/responses"}


async def test_the_official_anthropic_client_gets_messages(
    gateway: Gateway, engine: FakeEngine
) -> None:
    """Plain and streamed, with its own key header; its own error classes for every refusal."""
    client = anthropic.AsyncAnthropic(base_url=gateway.url, api_key=gateway.key, max_retries=0)

    async def ask(who: anthropic.AsyncAnthropic = client, **fields: Any) -> Any:
        given = {"model": "base", "max_tokens": 16, "messages": MESSAGES, **fields}
        return await who.messages.create(**given)

    async with client:
        plain = await ask(system="Be kind.", metadata={"user_id": "u1"})
        assert plain.content[0].text == "Hello there!"
        assert plain.usage.output_tokens == 3
        async with client.messages.stream(model="base", max_tokens=16, messages=MESSAGES) as stream:
            assert [word async for word in stream.text_stream] == ["Hello", " there", "!"]
            assert (await stream.get_final_message()).stop_reason == "end_turn"
        for fields, expected, kind in (
            ({"model": "nobody"}, anthropic.NotFoundError, "not_found_error"),
            ({"max_tokens": 0}, anthropic.BadRequestError, "invalid_request_error"),
        ):
            with pytest.raises(expected) as caught:
                await ask(**fields)
            assert caught.value.body["type"] == "error"
            assert caught.value.body["error"]["type"] == kind
        with pytest.raises(anthropic.AuthenticationError):
            await ask(client.with_options(api_key="sk-wrong"))
        engine.script = lambda _: Answer(
            status=400, pieces=[b'{"error":{"message":"too long","type":"BadRequestError"}}']
        )
        with pytest.raises(anthropic.BadRequestError) as refused:
            await ask()
        expected_error = {"type": "invalid_request_error", "message": "too long"}
        assert refused.value.body == {"type": "error", "error": expected_error}
    rating = json.dumps({"inference_id": plain.id, "rating": "up"}).encode()
    assert (await gateway.post("/v1/feedback", rating)).status == 200
    begin = gateway.begins()[0]
    assert (begin.endpoint, begin.subject) == ("/v1/messages", "u1")


async def test_tokens_are_counted_with_the_models_own_prompt(
    gateway: Gateway, engine: FakeEngine, settings: Settings, database: Database
) -> None:
    """A count is no inference: it is not recorded, nor can it be rated."""
    await make_alias(database, settings, "support", system_prompt="Be kind.")
    await until(lambda: gateway.runtime.catalog.alias_for("default", "support") is not None)
    client = anthropic.AsyncAnthropic(base_url=gateway.url, api_key=gateway.key, max_retries=0)
    async with client:
        raw = await client.messages.with_raw_response.count_tokens(
            model="support", messages=MESSAGES, extra_body={"max_tokens": 5}
        )
        assert (await raw.parse()).input_tokens == 7
        assert raw.headers["x-strop-ignored"] == "max_tokens"
        with pytest.raises(anthropic.BadRequestError, match=r"messages.0..role"):
            await client.messages.count_tokens(
                model="support", messages=[{"role": "wizard", "content": "a"}]
            )
        engine.script = lambda _: no_such_route()
        with pytest.raises(anthropic.NotFoundError, match="count_tokens") as caught:
            await client.messages.count_tokens(model="support", messages=MESSAGES)
        assert caught.value.body["error"]["type"] == "not_found_error"
    sent = engine.calls[0]
    assert (sent.path, sent.json["system"]) == ("/v1/messages/count_tokens", "Be kind.")
    assert "max_tokens" not in sent.json
    rating = {"inference_id": raw.headers["x-strop-inference-id"], "rating": "up"}
    assert (await gateway.post("/v1/feedback", json.dumps(rating).encode())).status == 404
    assert gateway.records() == []


async def test_anthropics_client_lists_models(gateway: Gateway) -> None:
    """In its shape, with either header of a key; refusals are in its shape as well."""
    client = anthropic.AsyncAnthropic(base_url=gateway.url, api_key=gateway.key, max_retries=0)
    async with client:
        (found,) = [model async for model in client.models.list()]
        assert (found.id, found.type, found.created_at.year) == ("base", "model", 1970)
        assert await client.models.retrieve("base") == found
        with pytest.raises(anthropic.NotFoundError, match="does not exist") as unknown:
            await client.models.retrieve("support")
        assert unknown.value.body["error"]["type"] == "not_found_error"
        with pytest.raises(anthropic.AuthenticationError) as caught:
            await client.with_options(api_key="sk-wrong").models.list()
        assert caught.value.body["type"] == "error"
    for key, status in ((gateway.key, 200), ("sk-wrong", 401), ("", 401)):
        headers = {"x-api-key": key}
        async with gateway.session.get(f"{gateway.url}/v1/models", headers=headers) as response:
            assert response.status == status
            assert ("object" in await response.json()) is (status == 200)


async def test_what_the_framework_refuses_has_anthropics_shape_too(gateway: Gateway) -> None:
    """A wrong method, a body that is none: one shape for one endpoint."""
    async with gateway.session.get(f"{gateway.url}/v1/messages") as response:
        assert (response.status, response.headers["allow"]) == (405, "POST")
        assert (await response.json())["type"] == "error"
    answer = await gateway.post("/v1/messages", b"[]")
    assert (answer.status, answer.json["error"]["type"]) == (400, "invalid_request_error")


async def test_bytes_pass_through_untouched_and_are_counted(
    gateway: Gateway, engine: FakeEngine
) -> None:
    """What the engine sent is what the client gets; usage is read wherever the dialect has it."""
    for path in STREAMING:
        answer = await gateway.post(path, body_of(path, stream=True))
        assert answer.body == b"".join(events(engine.calls[-1], ["Hello", " there", "!"]))
    ends = await gateway.ended(2)
    assert {end.status for end in ends} == {InferenceStatus.OK}
    async with gateway.session.get(f"{gateway.url}/metrics") as response:
        text = await response.text()
    labels = 'alias="base",arm="base",direction="completion",release="-",tenant="-"'
    assert f"strop_tokens_total{{{labels}}} 6.0" in text


async def test_an_answer_that_is_cut_short_does_not_look_whole(
    gateway: Gateway, engine: FakeEngine
) -> None:
    """The official clients raise, each by the error event of its dialect."""
    engine.script = lambda received: Answer(
        headers={"content-type": "text/event-stream"},
        pieces=[*events(received, ["Hello"])[:-1], Fault.RESET],
    )
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key) as client:
        stream = await client.responses.create(model="base", input="Hello", stream=True)
        with pytest.raises(openai.APIError, match="engine"):
            _ = [event async for event in stream]
    async with anthropic.AsyncAnthropic(base_url=gateway.url, api_key=gateway.key) as other:
        asked = await other.messages.create(
            model="base", max_tokens=16, messages=MESSAGES, stream=True
        )
        with pytest.raises(anthropic.APIStatusError, match="engine"):
            _ = [event async for event in asked]
    ends = await gateway.ended(2)
    assert {end.status for end in ends} == {InferenceStatus.UPSTREAM_ERROR}


async def test_embeddings_are_answered_and_not_kept(gateway: Gateway) -> None:
    """The record says what was asked and used; vectors are nobody's reading."""
    client = openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0)
    async with client:
        answer = await client.embeddings.create(**BODIES["/v1/embeddings"])
    assert [found.embedding for found in answer.data] == [[0.5, -0.25]] * 2
    (end,) = await gateway.ended(1)
    kept = json.loads(end.response)
    assert kept["usage"]["prompt_tokens"] == 7
    assert "data" not in kept


async def test_a_model_without_the_endpoint_is_404_and_keeps_its_adapter(
    gateway: Gateway, engine: FakeEngine, settings: Settings, database: Database
) -> None:
    """An engine that lacks a route has not lost an adapter: nothing is un-proved, nothing retried."""
    alias_id = await make_alias(database, settings, "support")
    name = "support-v1-aaaaaaaa"
    await promote_adapter(database, settings, alias_id, name, engine)
    prover = gateway.runtime.prover
    await until(lambda: bool(prover.replicas_for("default", name)))
    await until(lambda: gateway.runtime.catalog.revision > 2)
    engine.script = lambda _: no_such_route()
    for model in ("support", "base"):
        answer = await gateway.post("/v1/embeddings", body_of("/v1/embeddings", model=model))
        assert (answer.status, answer.error["code"]) == (404, "endpoint_not_served")
    assert prover.replicas_for("default", name)
    assert len(engine.calls) == 2
    ends = await gateway.ended(2)
    assert {end.status for end in ends} == {InferenceStatus.REFUSED}


async def test_an_aliass_prompt_reaches_the_engine_in_every_dialect(
    gateway: Gateway, engine: FakeEngine, settings: Settings, database: Database
) -> None:
    """And comes back to no client."""
    await make_alias(database, settings, "support", system_prompt="Be kind.")
    await until(
        lambda: any(alias.name == "support" for alias in gateway.runtime.catalog.all_aliases)
    )
    answers = [await gateway.post(path, body_of(path, model="support")) for path in STREAMING]
    assert all(b"Be kind." not in answer.body for answer in answers)
    response, message = (call.json for call in engine.calls)
    assert response["input"][0] == {"role": "system", "content": "Be kind."}
    assert message["system"] == "Be kind."
