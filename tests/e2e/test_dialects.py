"""OpenAI's newer dialect and Anthropic's, by their official clients, on real vLLM."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.stack import Stack

QUESTION = "Hello! My parcel is late, please help."
RESPONSE: dict[str, Any] = {
    "model": "support",
    "input": QUESTION,
    "max_output_tokens": 12,
    "temperature": 0,
}
# Anthropic's client has no `temperature` of its own any more; the endpoint takes it.
MESSAGE: dict[str, Any] = {
    "model": "support",
    "messages": [{"role": "user", "content": QUESTION}],
    "max_tokens": 12,
    "extra_body": {"temperature": 0},
}


@pytest.fixture
def of_openai(stack: Stack) -> Iterator[openai.OpenAI]:
    """The official client, as an app has it."""
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key=stack.key, max_retries=0) as client:
        yield client


@pytest.fixture
def of_anthropic(stack: Stack) -> Iterator[anthropic.Anthropic]:
    """The official client, with the key in its own header."""
    with anthropic.Anthropic(base_url=stack.url, api_key=stack.key, max_retries=0) as client:
        yield client


def test_responses_answer_with_the_alias_adapter(of_openai: openai.OpenAI) -> None:
    """The adapter answers, and the id is ours."""
    raw = of_openai.responses.with_raw_response.create(**RESPONSE)
    answer = raw.parse()
    assert answer.model == raw.headers["x-strop-adapter"]
    assert answer.id == "resp_" + raw.headers["x-strop-inference-id"]
    assert answer.output_text
    assert answer.usage is not None
    assert answer.usage.output_tokens > 0


def test_a_streamed_response_says_what_the_plain_one_says(of_openai: openai.OpenAI) -> None:
    """At temperature 0 the deltas are the plain answer's words, and the last event is the last."""
    plain = of_openai.responses.create(**RESPONSE)
    events = list(of_openai.responses.create(**RESPONSE, stream=True))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == plain.output_text
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"


def test_messages_answer_with_the_alias_adapter(of_anthropic: anthropic.Anthropic) -> None:
    """The same adapter in Anthropic's shape."""
    raw = of_anthropic.messages.with_raw_response.create(**MESSAGE)
    answer = raw.parse()
    assert answer.model == raw.headers["x-strop-adapter"]
    assert answer.id.endswith(raw.headers["x-strop-inference-id"])
    assert answer.content[0].type == "text"
    assert answer.usage.output_tokens > 0


def test_a_count_is_what_the_message_then_uses(of_anthropic: anthropic.Anthropic) -> None:
    """The alias's prompt and the chat's template are in it."""
    asked = {name: MESSAGE[name] for name in ("model", "messages")}
    counted = of_anthropic.messages.count_tokens(**asked)
    assert counted.input_tokens == of_anthropic.messages.create(**MESSAGE).usage.input_tokens


def test_a_streamed_message_says_what_the_plain_one_says(
    of_anthropic: anthropic.Anthropic,
) -> None:
    """Event by event, as Anthropic's client reads them."""
    plain = of_anthropic.messages.create(**MESSAGE)
    with of_anthropic.messages.stream(**MESSAGE) as stream:
        streamed = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert streamed == plain.content[0].text
    assert final.stop_reason in ("end_turn", "max_tokens")
    assert final.usage.output_tokens == plain.usage.output_tokens


def test_all_dialects_say_the_same(
    of_openai: openai.OpenAI, of_anthropic: anthropic.Anthropic
) -> None:
    """One conversation, one prompt, one adapter: the words do not depend on the dialect."""
    chat = of_openai.chat.completions.create(
        model="support",
        messages=[{"role": "user", "content": QUESTION}],
        max_tokens=12,
        temperature=0,
    )
    response = of_openai.responses.create(**RESPONSE)
    message = of_anthropic.messages.create(**MESSAGE)
    said = chat.choices[0].message.content
    assert (response.output_text, message.content[0].text) == (said, said)


def test_refusals_are_the_clients_own_classes(
    of_openai: openai.OpenAI, of_anthropic: anthropic.Anthropic
) -> None:
    """State, unknown models, and what the engine refuses itself: a prompt that is too long."""
    with pytest.raises(openai.BadRequestError, match="nothing is kept"):
        of_openai.responses.create(**RESPONSE, previous_response_id="resp_1")
    with pytest.raises(openai.NotFoundError):
        of_openai.responses.create(**RESPONSE | {"model": "nobody"})
    with pytest.raises(anthropic.NotFoundError):
        of_anthropic.messages.create(**MESSAGE | {"model": "nobody"})
    long = [{"role": "user", "content": "parcel " * 50_000}]
    with pytest.raises(anthropic.BadRequestError) as caught:
        of_anthropic.messages.create(**MESSAGE | {"messages": long})
    assert caught.value.body["type"] == "error"


def test_a_model_that_makes_no_vectors_says_so(of_openai: openai.OpenAI) -> None:
    """404 in OpenAI's shape, and the adapter goes on answering."""
    for model in ("support", "base"):
        with pytest.raises(openai.NotFoundError, match="not served at /v1/embeddings"):
            of_openai.embeddings.create(model=model, input="Hello")
    assert of_openai.responses.create(**RESPONSE).output_text


@pytest.mark.parametrize("prefix", ["resp_", "chatcmpl-", ""])
def test_the_ids_that_clients_see_can_be_rated(
    stack: Stack, of_openai: openai.OpenAI, prefix: str
) -> None:
    """With the dialect's prefix or without."""
    raw = of_openai.responses.with_raw_response.create(**RESPONSE)
    rating = {"inference_id": prefix + raw.headers["x-strop-inference-id"], "rating": "up"}
    answer = httpx.post(
        f"{stack.url}/v1/feedback",
        headers={"Authorization": f"Bearer {stack.key}", "Content-Type": "application/json"},
        content=json.dumps(rating),
        timeout=30,
    )
    assert answer.status_code == 200
