"""/v1/completions and /v1/embeddings: a text, or several, without turns."""

from typing import ClassVar, Final

import msgspec

from gateway.dialects.chat import COMPLETING, OlderEndpoint
from gateway.dialects.endpoint import Endpoint
from gateway.policy.checks import Check, any_text, flag, integer, label, one_of
from gateway.policy.sampling import MAX_LOGPROBS, MAX_TOKENS, one_or_several


class _Completions(OlderEndpoint):
    path = "/v1/completions"
    summary = "Continue a text, in one piece or streamed."
    required = ("prompt",)
    usual_answer_tokens = 16
    fields: ClassVar[dict[str, Check]] = {
        **COMPLETING,
        "prompt": one_or_several(64),
        "suffix": any_text,
        "echo": flag,
        "logprobs": integer(0, MAX_LOGPROBS),
    }


class _Embeddings(Endpoint):
    path = "/v1/embeddings"
    summary = "Turn texts into vectors, where the model does that."
    required = ("input",)
    usual_answer_tokens = 0
    fields: ClassVar[dict[str, Check]] = {
        "input": one_or_several(2048),
        "encoding_format": one_of("float", "base64"),
        "dimensions": integer(1, 2**16),
        "truncate_prompt_tokens": integer(-1, MAX_TOKENS),
        "user": label(512),
    }

    def to_record(self, answer: bytes) -> bytes:
        """Keep all but the vectors: they are long, and no person nor training wants them."""
        try:
            found = msgspec.json.decode(answer, type=dict[str, msgspec.Raw])
        except (ValueError, RecursionError):
            return answer
        found.pop("data", None)
        return msgspec.json.encode(found)


COMPLETIONS: Final = _Completions()
EMBEDDINGS: Final = _Embeddings()
