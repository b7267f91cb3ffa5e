"""What earlier turns say in an engine's own words, as far as engines read them."""

from typing import Any

import pytest

from gateway.dialects.chat import CHAT
from gateway.dialects.responses import RESPONSES
from gateway.policy.fields import authorise
from serving.errors import InvalidRequestError


def all_texts(value: Any) -> list[str]:
    """Return every text within."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for each in inner for text in all_texts(each)]


@pytest.mark.parametrize(
    ("text", "is_fit"),
    [
        ("[" * 32 + "]" * 32, True),
        ("[" * 33 + "]" * 33, False),
        ("[" * 200_000, False),
        ('{"code": "' + "[{" * 10_000 + '\\"[["}', True),
        ("[" + "[]," * 4_000 + "[]]", True),
        ("[" + "[]," * 5_000 + "[]]", False),
        ("no JSON [[", True),
        ("[" * 33 + '"' + '\\"' * 2_000_000, False),
        ("[" * 32 + '"[' + '\\"' * 2_000_000, True),
    ],
)
def test_what_functions_were_called_with_is_no_deeper_than_engines_read(
    text: str, is_fit: bool
) -> None:
    """vLLM answers 500 to more, and one key could have all replicas taken for broken."""
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": text}}
    item = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": text}
    in_chat = {"model": "m", "messages": [{"role": "assistant", "tool_calls": [call]}]}
    for endpoint, body in ((CHAT, in_chat), (RESPONSES, {"model": "m", "input": [item]})):
        if is_fit:
            assert text in all_texts(authorise(endpoint, body).fields)
        else:
            with pytest.raises(InvalidRequestError) as caught:
                authorise(endpoint, body)
            assert str(caught.value.param).endswith("arguments")


def test_a_refusal_of_an_earlier_turn_is_a_text() -> None:
    """vLLM fails on OpenAI's own form of it."""
    turn = {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    sent = authorise(RESPONSES, {"model": "m", "input": [turn]}).fields["input"]
    assert sent[0]["content"] == [{"type": "output_text", "text": "No."}]
