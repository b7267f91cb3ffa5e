"""Bounds on what most endpoints take: how to sample, where to stop, whom it is about."""

from typing import Any, Final

from gateway.policy.checks import (
    Check,
    UnfitError,
    array,
    at,
    either,
    flag,
    integer,
    integers,
    label,
    number,
    takes,
    text_or,
    text_or_texts,
)
from gateway.policy.objects import record
from gateway.policy.schemas import structured_outputs

MAX_TOKENS: Final = 2**20
MAX_TOKEN_ID: Final = 2**31
MAX_LOGPROBS: Final = 5
"""Alternatives that are told of a token."""
MAX_STOPS: Final = 4
MAX_STOP_LENGTH: Final = 64
"""Engines look for each of them again with every token."""
_bias = number(-100, 100)


@takes(
    {
        "type": "object",
        "maxProperties": 300,
        "propertyNames": {"pattern": "^[0-9]{1,10}$"},
        "additionalProperties": _bias.schema,
    }
)
def _logit_bias(value: Any) -> Any:
    if len(record(value)) > 300:
        raise UnfitError("an object of at most 300 tokens")
    for token, bias in value.items():
        if not token.isascii() or not token.isdigit() or len(token) > 10:
            raise UnfitError("an object whose keys are token ids")
        at(f".{token}", bias, _bias)
    return value


_text_or_tokens = text_or(integers(MAX_TOKENS, 0, MAX_TOKEN_ID, min_items=1))


def one_or_several(max_items: int) -> Check:
    """Take a text, the ids of its tokens, or at most `max_items` of either."""
    several = array(max_items, _text_or_tokens, min_items=1)

    @takes(either(_text_or_tokens, several))
    def check(value: Any) -> Any:
        is_several = isinstance(value, list) and value and isinstance(value[0], str | list)
        return several(value) if is_several else _text_or_tokens(value)

    return check


SAMPLING: Final[dict[str, Check]] = {
    "temperature": number(0, 2),
    "top_p": number(0, 1),
    "top_k": integer(-1, MAX_TOKENS),
    "min_p": number(0, 1),
    "presence_penalty": number(-2, 2),
    "frequency_penalty": number(-2, 2),
    "repetition_penalty": number(0.01, 10),
    "seed": integer(-(2**63), 2**63 - 1),
    "stop": text_or_texts(MAX_STOPS, MAX_STOP_LENGTH),
    "stop_token_ids": integers(64, 0, MAX_TOKEN_ID),
    "logit_bias": _logit_bias,
    "ignore_eos": flag,
    "skip_special_tokens": flag,
    "include_stop_str_in_output": flag,
    "structured_outputs": structured_outputs,
    "stream": flag,
    "user": label(512),
}
"""All that vLLM's engines take under one name at each endpoint of OpenAI's that generates text."""
