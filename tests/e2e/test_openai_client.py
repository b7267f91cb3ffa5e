"""The official `openai` client, unmodified, against a real Strop on real vLLM."""

import openai
import pytest

from tests.stack import Stack

MESSAGES = [{"role": "user", "content": "Hello! My parcel is late, please help."}]


@pytest.fixture
def client(stack: Stack) -> openai.OpenAI:
    """The official client, as an app has it."""
    return openai.OpenAI(base_url=f"{stack.url}/v1", api_key=stack.key, max_retries=0)


def test_models_lists_the_alias_and_the_base(client: openai.OpenAI) -> None:
    """`models.list()` names what the key may call."""
    assert {model.id for model in client.models.list()} >= {"support", "base"}


def test_chat_answers_with_the_alias_adapter(client: openai.OpenAI) -> None:
    """A chat is answered by the champion's adapter, and says so in `model`, header and id."""
    raw = client.chat.completions.with_raw_response.create(
        model="support", messages=MESSAGES, max_tokens=16, temperature=0
    )
    answer = raw.parse()
    assert answer.model == raw.headers["x-strop-adapter"]
    assert answer.model.startswith("support-v")
    assert answer.id == "chatcmpl-" + raw.headers["x-strop-inference-id"]
    assert answer.choices[0].message.content is not None
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0


def test_a_stream_carries_usage_only_on_request(client: openai.OpenAI) -> None:
    """A stream has a usage event if the client asked for it, and none otherwise."""
    for asked in (True, False):
        options = {"stream_options": {"include_usage": True}} if asked else {}
        chunks = list(
            client.chat.completions.create(
                model="support", messages=MESSAGES, max_tokens=8, stream=True, **options
            )
        )
        assert any(chunk.usage for chunk in chunks) is asked
        assert chunks[0].model.startswith("support-v")
        finished = [chunk for chunk in chunks if chunk.choices]
        assert finished[-1].choices[0].finish_reason in ("stop", "length")


def test_a_stream_says_what_the_plain_answer_says(client: openai.OpenAI) -> None:
    """At temperature 0 the streamed words are the plain answer's words."""
    request = {"model": "support", "messages": MESSAGES, "max_tokens": 12, "temperature": 0}
    plain = client.chat.completions.create(**request).choices[0].message.content
    chunks = client.chat.completions.create(**request, stream=True)
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert streamed == plain


def test_completions_answer_plain_and_streamed(client: openai.OpenAI) -> None:
    """The older surface works the same, on the base model by its own name."""
    plain = client.completions.create(model="base", prompt="Dear customer,", max_tokens=5)
    assert plain.model == "base"
    assert plain.usage is not None
    pieces = client.completions.create(
        model="base", prompt="Dear customer,", max_tokens=5, stream=True
    )
    assert sum(len(piece.choices) for piece in pieces) > 0


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"model": "nobody"}, openai.NotFoundError),
        ({"model": "support@99"}, openai.NotFoundError),
        ({"max_tokens": -1}, openai.BadRequestError),
        ({"n": 1000}, openai.BadRequestError),
        ({"extra_body": {"chat_template": "{{ x }}"}}, openai.BadRequestError),
    ],
)
def test_bad_requests_raise_its_own_classes(
    client: openai.OpenAI, request_: dict[str, object], expected: type[openai.APIStatusError]
) -> None:
    """Errors arrive as the client's own exception classes, with type and message."""
    with pytest.raises(expected) as caught:
        client.chat.completions.create(**{"model": "support", "messages": MESSAGES, **request_})
    assert caught.value.body["message"]
    assert caught.value.body["type"]


def test_a_wrong_key_is_an_authentication_error(stack: Stack) -> None:
    """An unknown key gets 401 as `openai.AuthenticationError`."""
    stranger = openai.OpenAI(base_url=f"{stack.url}/v1", api_key="sk-none", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        stranger.models.list()
