"""Training and evaluation rows as people bring them: JSONL in, examples out, or every fault by line.

Two formats, one line each:

    {"instruction": ..., "input": ..., "output": ...}     user message = instruction, blank line, input
    {"messages": [..., {"role": "assistant", ...}], "tools": [...]}

and beside either, optionally: `id`, `group` (rows that must not be split apart), `slice` (a name to
report by), `at` (when it was said: RFC 3339), `retrieved` (passages the answer may rest on).
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Literal

import msgspec

from serving.errors import InvalidRequestError

MAX_FAULTS_SHOWN = 20
MAX_LINE_BYTES = 1_000_000

Role = Literal["system", "developer", "user", "assistant", "tool"]


class Message(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One turn, in OpenAI's shape."""

    role: Role
    content: str | None = None
    tool_calls: list[Any] | None = None
    tool_call_id: str | None = None
    name: str | None = None


class _Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    instruction: str | None = None
    input: str | None = None
    output: str | None = None
    messages: list[Message] | None = None
    tools: list[Any] | None = None
    id: str | None = None
    group: str | None = None
    slice: str | None = None
    at: datetime | None = None
    retrieved: list[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A prompt and the answer it should get. The alias's system prompt is not part of it."""

    prompt: tuple[Message, ...]
    answer: Message
    tools: tuple[Any, ...] = ()
    id: str | None = None
    group: str | None = None
    slice: str | None = None
    at: datetime | None = None
    retrieved: tuple[str, ...] = ()

    @property
    def answer_text(self) -> str:
        """The answer as text; tool calls as their JSON."""
        return text_of(self.answer)

    @property
    def prompt_text(self) -> str:
        """The prompt as one text, turn by turn."""
        return "\n".join(f"{turn.role}: {turn.content or ''}" for turn in self.prompt)

    @property
    def question_hash(self) -> str:
        """What makes two questions the same: prompt and tools; 32 hexadecimal digits."""
        return _hash_of(self.prompt, self.tools)

    @property
    def content_hash(self) -> str:
        """What makes two examples the same: prompt, tools and answer; 32 hexadecimal digits."""
        return _hash_of(self.prompt, self.tools, self.answer)


def parse_examples(lines: Iterable[bytes], name: str) -> list[Example]:
    """Read JSONL. Blank lines are skipped; one bad line refuses the file whole.

    Args:
        lines: the file's lines.
        name: the file's name, for the message.

    Raises:
        InvalidRequestError: names every bad line (the first 20) and what is wrong with it.
    """
    examples, faults = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            examples.append(_parse(line))
        except (ValueError, OverflowError) as error:  # OverflowError: a time before year 1
            faults.append(f"line {number}: {error}")
        except RecursionError:
            faults.append(f"line {number}: nested too deeply")
    if faults:
        shown = "; ".join(faults[:MAX_FAULTS_SHOWN])
        more = f"; and {len(faults) - MAX_FAULTS_SHOWN} more" if faults[MAX_FAULTS_SHOWN:] else ""
        raise InvalidRequestError(
            f"{name} was not imported, {len(faults)} of its lines are wrong: {shown}{more}. "
            "Mend them and import the file again.",
            code="bad_rows",
        )
    if not examples:
        raise InvalidRequestError(f"{name} has no rows.", code="bad_rows")
    return examples


def example_of(content: Any) -> Example:
    """Read an example as the database keeps it (`content_of`)."""
    return msgspec.convert(content, Example)


def content_of(example: Example) -> Any:
    """Return an example as the database keeps it: plain JSON values."""
    return msgspec.to_builtins(example)


def text_of(answer: Message) -> str:
    """Return an answer as text; tool calls as JSON of what they call, without their chance ids."""
    if answer.content is not None or not answer.tool_calls:
        return answer.content or ""
    return msgspec.json.encode([_call(call) for call in answer.tool_calls], order="sorted").decode()


def for_template(turn: Message) -> Message:
    """Return a turn as chat templates take it: arguments of tool calls read, as engines do too."""
    if not turn.tool_calls:
        return turn
    calls = [_with_read_arguments(call) for call in turn.tool_calls]
    return msgspec.structs.replace(turn, tool_calls=calls)


def with_system(prompt: Sequence[Message], system_prompt: str | None) -> list[Message]:
    """Prepend the alias's system prompt unless the client sent one, as the gateway does."""
    if not system_prompt or any(turn.role in ("system", "developer") for turn in prompt):
        return list(prompt)
    return [Message("system", system_prompt), *prompt]


def without_system(prompt: tuple[Message, ...], own: Collection[str | None]) -> tuple[Message, ...]:
    """Leave out a first turn that is one of the alias's own system prompts (`with_system`)."""
    return prompt[1:] if prompt[:1] in [(Message("system", text),) for text in own] else prompt


def _parse(line: bytes) -> Example:
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"longer than {MAX_LINE_BYTES} bytes")
    row = msgspec.json.decode(line, type=_Row)
    turns = _turns(row)
    if any("\0" in (turn.content or "") for turn in turns):
        raise ValueError("holds a NUL character")
    if turns[-1].role != "assistant" or not (turns[-1].content or turns[-1].tool_calls):
        raise ValueError("the last message must be the assistant's answer, and not empty")
    if not any(turn.role == "user" for turn in turns):
        raise ValueError("there is no user message")
    return Example(
        prompt=tuple(turns[:-1]),
        answer=turns[-1],
        tools=tuple(row.tools or ()),
        id=row.id,
        group=row.group,
        slice=row.slice,
        at=_aware(row.at),
        retrieved=tuple(row.retrieved or ()),
    )


def _hash_of(*parts: Any) -> str:
    return blake2b(msgspec.json.encode(parts), digest_size=16).hexdigest()


def _call(call: Any) -> Any:
    """Return name and arguments of a tool call."""
    function = _with_read_arguments(call).get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return call
    return {"name": function.get("name"), "arguments": function.get("arguments")}


def _with_read_arguments(call: Any) -> Any:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("arguments"), str):
        return call
    try:
        arguments = msgspec.json.decode(function["arguments"])
    except ValueError:  # a model's, and wrong: it stays the text that it is
        return call
    return {**call, "function": {**function, "arguments": arguments}}


def _turns(row: _Row) -> list[Message]:
    is_instruction = row.instruction is not None or row.output is not None
    if is_instruction == (row.messages is not None):
        raise ValueError('needs either "instruction" and "output", or "messages"')
    if row.messages is not None:
        if len(row.messages) < 2:
            raise ValueError('"messages" needs a question and its answer')
        return row.messages
    if not row.instruction or row.output is None:
        raise ValueError('needs "instruction" and "output"')
    question = f"{row.instruction}\n\n{row.input}" if row.input else row.instruction
    return [Message("user", question), Message("assistant", row.output)]


def _aware(at: datetime | None) -> datetime | None:
    if at is None:
        return None
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
