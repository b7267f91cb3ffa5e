"""A pool that makes vectors: the same base, started as README says, behind `strop up`."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.stack import START_SECONDS, Stack, running_stack

pytestmark = [
    pytest.mark.prove,
    pytest.mark.engine,
    pytest.mark.timeout(START_SECONDS + 300),
]

POOLING = ["--runner", "pooling", "--convert", "embed"]
TEXTS = ["My parcel is late.", "My parcel is very late.", "Reset my password, please."]


@pytest.fixture(scope="module")
def vectors() -> Iterator[Stack]:
    """A Strop whose one pool makes vectors."""
    # Not under tmp_path: a socket's path may have 107 bytes.
    with (
        tempfile.TemporaryDirectory(prefix="strop-") as folder,
        running_stack(Path(folder), STROP_ENGINE__ARGS=json.dumps(POOLING)) as stack,
    ):
        yield stack


def test_texts_become_vectors_by_base_and_by_alias(vectors: Stack) -> None:
    """By the official client: one vector of length 1 for each text, likenesses near each other."""
    vectors.strop("aliases", "create", "likeness", "--task", "extract")
    with openai.OpenAI(base_url=f"{vectors.url}/v1", api_key=vectors.key, max_retries=5) as client:
        for model in ("base", "likeness"):
            raw = client.embeddings.with_raw_response.create(model=model, input=TEXTS)
            answer = raw.parse()
            assert answer.usage.prompt_tokens > len(TEXTS)
            first, alike, other = (found.embedding for found in answer.data)
            assert dot(first, first) == pytest.approx(1, abs=1e-3)
            assert dot(first, alike) > dot(first, other)
        with pytest.raises(openai.NotFoundError, match="not served at /v1/chat/completions"):
            client.chat.completions.create(
                model="base", messages=[{"role": "user", "content": "a"}]
            )


def dot(one: list[float], other: list[float]) -> float:
    """Return the inner product."""
    return sum(a * b for a, b in zip(one, other, strict=True))
