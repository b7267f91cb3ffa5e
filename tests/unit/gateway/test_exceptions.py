"""What one key may ask that others may not, and the other way round."""

from typing import Any

import pytest

from gateway.dialects.chat import CHAT
from gateway.dialects.completions import COMPLETIONS
from gateway.dialects.endpoint import Endpoint
from gateway.dialects.messages import MESSAGES
from gateway.dialects.responses import RESPONSES
from gateway.dialects.served import ENDPOINTS
from gateway.policy.exceptions import FieldChange, changed
from gateway.policy.fields import ALLOWABLE, Asked, authorise, hold_within
from serving.errors import InvalidRequestError
from serving.routing.catalog import Exceptions

CHAT_BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


def special(**change: Any) -> Exceptions:
    """Return the exceptions of a new key that is made with these."""
    sets = {name: frozenset(change.pop(name, ())) for name in ("allow", "forbid", "usual")}
    return changed(Exceptions(), FieldChange(**sets, **change))


def ask(exceptions: Exceptions | None, endpoint: Endpoint = CHAT, **fields: Any) -> Asked:
    """Authorise a chat with more fields."""
    return authorise(endpoint, CHAT_BODY | fields, exceptions)


def test_what_is_allowed_goes_on() -> None:
    """A dangerous field and one that stays behind for others; bounded in size all the same."""
    exceptions = special(allow={"chat_template_kwargs", "bad_words"})
    fields = {"chat_template_kwargs": {"enable_thinking": False}, "bad_words": ["no"]}
    asked = ask(exceptions, **fields)
    assert asked.fields == {"messages": CHAT_BODY["messages"], **fields}
    assert asked.ignored == ()
    with pytest.raises(InvalidRequestError, match="chat_template_kwargs"):
        ask(None, **fields)
    with pytest.raises(InvalidRequestError, match="20000 values"):
        ask(exceptions, bad_words=["no"] * 30_000)
    with pytest.raises(InvalidRequestError, match="priority"):
        ask(exceptions, priority=1)


def test_what_is_forbidden_is_refused_by_name() -> None:
    """To decline it is no fault, as everywhere."""
    exceptions = special(forbid={"tools", "stream"})
    for fields in ({"stream": True}, {"tools": []}):
        with pytest.raises(InvalidRequestError, match="to this key") as caught:
            ask(exceptions, **fields)
        assert caught.value.param in fields
    assert ask(exceptions, stream=False, tools=None).fields["stream"] is False


def test_bounds_are_raised_and_lowered() -> None:
    """Only upper ones; others stay as they are."""
    exceptions = special(most={"n": 12, "temperature": 0.5})
    assert ask(exceptions, n=12, temperature=0.5).fields["n"] == 12
    for fields in ({"n": 13}, {"n": 0}, {"temperature": 0.6}, {"top_logprobs": 6}):
        with pytest.raises(InvalidRequestError) as caught:
            ask(exceptions, **fields)
        assert caught.value.param in fields


@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES])
def test_alternatives_of_tokens_may_be_more(endpoint: Endpoint) -> None:
    """Above what is usual: as many as the engine gives, where an operator says so."""
    body = CHAT_BODY | {"input": "a", "top_logprobs": 20}
    asked = authorise(endpoint, body, special(most={"top_logprobs": 20}))
    assert asked.fields["top_logprobs"] == 20
    with pytest.raises(InvalidRequestError, match="from 0 to 5"):
        authorise(endpoint, body)


@pytest.mark.parametrize(
    ("endpoint", "name", "without"),
    [
        (CHAT, "max_completion_tokens", {"max_tokens": 100}),
        (RESPONSES, "max_output_tokens", {"max_output_tokens": 100}),
        (MESSAGES, "max_tokens", {"max_tokens": 100}),
        (COMPLETIONS, "max_tokens", {"max_tokens": 16}),
    ],
)
def test_the_length_of_answers_is_one_bound_in_all_dialects(
    endpoint: Endpoint, name: str, without: dict[str, int]
) -> None:
    """Whoever says no length gets the bound, or what the engine would have taken."""
    exceptions = special(most={"max_tokens": 100})
    body = CHAT_BODY | {"input": "a", "max_tokens": 5}
    if endpoint is COMPLETIONS:
        body["prompt"] = "a"
    authorise(endpoint, body | {name: 100}, exceptions)
    with pytest.raises(InvalidRequestError, match="from 1 to 100"):
        authorise(endpoint, body | {name: 101}, exceptions)
    fields: dict[str, Any] = {}
    hold_within(fields, endpoint, exceptions)
    assert fields == without


def test_what_a_release_sets_is_held_within_the_keys_bounds() -> None:
    """Its own smaller values stay."""
    exceptions = special(most={"max_tokens": 100, "temperature": 0.5, "logprobs": 0})
    fields = {"max_tokens": 400, "temperature": 0.2, "logprobs": True}
    hold_within(fields, CHAT, exceptions)
    assert fields == {"max_tokens": 100, "temperature": 0.2, "logprobs": True}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"allow": {"nothing"}}, "allow"),
        ({"allow": {"cache_salt"}}, "allow"),
        ({"allow": {"api_base"}}, "allow"),
        ({"forbid": {"model"}}, "forbid"),
        ({"forbid": {"messages"}}, "forbid"),
        ({"usual": {"nothing"}}, "usual"),
        ({"most": {"tools": 5}}, "most"),
        ({"most": {"schemas": 0}}, "most.schemas"),
        ({"most": {"schemas": 1.5}}, "most.schemas"),
        ({"most": {"max_output_tokens": 5}}, "most"),
        ({"most": {"n": 0}}, "most.n"),
        ({"most": {"n": 1.5}}, "most.n"),
        ({"most": {"n": True}}, "most.n"),
        ({"most": {"temperature": float("nan")}}, "most.temperature"),
        ({"allow": {"tools"}, "forbid": {"tools"}}, "allow"),
    ],
)
def test_what_cannot_be_an_exception_is_refused(change: dict[str, Any], param: str) -> None:
    """By the option at fault; an unknown name with the list of those that are known."""
    with pytest.raises(InvalidRequestError) as caught:
        special(**change)
    assert caught.value.param == param
    if "knows no field" in caught.value.message:
        assert "temperature" in caught.value.message


def test_exceptions_change_one_by_one() -> None:
    """What is forbidden is allowed no more, and the other way round; `usual` takes both away."""
    first = special(allow={"priority"}, forbid={"tools"}, most={"n": 2})
    second = changed(first, FieldChange(forbid=frozenset({"priority"}), most={"n": 3}))
    assert second == Exceptions(forbidden=frozenset({"priority", "tools"}), most={"n": 3})
    third = changed(second, FieldChange(allow=frozenset({"tools"})))
    assert (third.allowed, third.forbidden) == ({"tools"}, {"priority"})
    last = changed(third, FieldChange(usual=frozenset({"n", "tools", "priority"})))
    assert last == Exceptions()


def test_no_endpoint_takes_what_has_to_be_allowed() -> None:
    """Dangerous fields are in no table, or every key could send them there."""
    found = {name for endpoint in ENDPOINTS for name in endpoint.fields} & ALLOWABLE
    # At some endpoints they are not unusual.
    assert found == {"include_reasoning", "truncate_prompt_tokens"}
