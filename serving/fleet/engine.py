"""An engine: one replica of a pool, spoken to over HTTP.

Only health, adapters and probes go this way; traffic goes through the gateway's upstream client.
The in-memory twin is `serving.fleet.memory`; one contract suite holds all of them.
"""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import httpx
import msgspec

from serving.errors import ConfigurationError, ConflictError, EngineError, EngineTimeoutError

_HEALTH_SECONDS = 5.0
_LIST_SECONDS = 10.0
# A cold engine takes seconds for its first answer, and the weights may lie on a slow disk.
_LOAD_SECONDS = 120.0
_PROBE_SECONDS = 60.0
UPSTREAM_LOOK_SECONDS = 10.0
"""How often one process looks at an `openai` pool: it is somebody else's, has no adapters of ours,
and counts what it is asked."""


class Engine(Protocol):
    """What Strop asks of a replica.

    Every method but `is_healthy` raises EngineError when the engine refuses or cannot be
    reached, EngineTimeoutError when it does not answer in time; both name the replica.
    """

    @property
    def url(self) -> str:
        """The replica's address, without /v1."""
        ...

    async def is_healthy(self) -> bool:
        """Whether the engine answers and says that it is well. Never raises."""
        ...

    async def list_adapters(self) -> dict[str, str]:
        """Return the adapters that the engine knows: name -> path as the engine sees it."""
        ...

    async def context_tokens(self) -> int | None:
        """Return how long prompt and answer may be together; None: the engine does not say."""
        ...

    async def load(self, name: str, path: str) -> None:
        """Have the engine load an adapter; to load it again from the same path is no error.

        Raises:
            ConflictError: the name is loaded from another path, or is the base model's.
        """
        ...

    async def unload(self, name: str) -> None:
        """Have the engine forget an adapter; to forget an unknown one is no error."""
        ...

    async def probe(self, model: str) -> None:
        """Have `model` (an adapter, or the base model's name) answer with one token."""
        ...


class VllmEngine:
    """vLLM, with adapters loaded and unloaded while it runs."""

    def __init__(self, url: str, client: httpx.AsyncClient) -> None:
        self.url = url.rstrip("/")
        self._line = _Line(self.url, client)

    async def is_healthy(self) -> bool:
        """Whether GET /health answers 200."""
        return await self._line.is_answered("/health")

    async def list_adapters(self) -> dict[str, str]:
        """Return the models that have a parent: adapter name -> path."""
        models = await self._line.list_models()
        return {model.id: model.root or "" for model in models if model.parent}

    async def context_tokens(self) -> int | None:
        """Return `max_model_len`, which vLLM tells of its base model."""
        models = await self._line.list_models()
        return next((model.max_model_len for model in models if not model.parent), None)

    async def load(self, name: str, path: str) -> None:
        """Load an adapter. Never `load_inplace`: it leaves stale prefix-cache blocks (#42125)."""
        answer = await self._line.post(
            "/v1/load_lora_adapter", {"lora_name": name, "lora_path": path}, _LOAD_SECONDS
        )
        if answer.is_success:
            return
        if answer.status_code == httpx.codes.BAD_REQUEST:
            await self._check_is_loaded(name, path, answer)
            return
        raise self._line.refusal(f"load adapter {name} from {path}", answer)

    async def unload(self, name: str) -> None:
        """Unload an adapter. vLLM forgets the name; its weights stay until it needs the room."""
        answer = await self._line.post(
            "/v1/unload_lora_adapter", {"lora_name": name}, _LIST_SECONDS
        )
        if answer.status_code != httpx.codes.NOT_FOUND and not answer.is_success:
            raise self._line.refusal(f"unload adapter {name}", answer)

    async def probe(self, model: str) -> None:
        """Ask for one token; the answer must come from `model` itself."""
        request = {"model": model, "prompt": "1", "max_tokens": 1, "temperature": 0}
        answer = await self._line.post("/v1/completions", request, _PROBE_SECONDS)
        if not answer.is_success:
            raise self._line.refusal(f"answer a probe of {model}", answer)
        answered_by = self._line.read(answer, _Answer).model
        if answered_by != model:
            raise EngineError(
                f"The engine {self.url} answered a probe of {model} with {answered_by}. "
                "Restart it: it must not get traffic."
            )

    async def _check_is_loaded(self, name: str, path: str, answer: httpx.Response) -> None:
        """Tell an adapter that is there already from a name that means something else."""
        known_path = (await self.list_adapters()).get(name)
        if known_path == path:
            return
        if known_path is not None:
            raise taken_by_adapter(self.url, name, known_path, path)
        raise ConflictError(
            f"The engine {self.url} cannot load adapter {name}: {_words_of(answer)}"
        )


class OpenAIEngine:
    """An OpenAI-compatible upstream that somebody else runs: a base model and no adapters."""

    def __init__(
        self,
        url: str,
        client: httpx.AsyncClient,
        read_api_key: Callable[[], str],
        base_model: str,
    ) -> None:
        """Read the key at each call only: most commands never speak to an upstream."""
        self.url = url.rstrip("/")
        self.base_model = base_model
        self._line = _Line(self.url, client, read_api_key)

    async def is_healthy(self) -> bool:
        """Whether GET /v1/models answers: upstreams have no common health route."""
        return await self._line.is_answered("/v1/models")

    async def list_adapters(self) -> dict[str, str]:
        """Return nothing: such an upstream serves no adapters of ours."""
        return {}

    async def context_tokens(self) -> int | None:
        """Return None: OpenAI's API does not tell."""
        return None

    async def load(self, name: str, path: str) -> None:
        """Refuse.

        Raises:
            ConfigurationError: always; says which kind of pool can do it.
        """
        raise ConfigurationError(
            f"The pool behind {self.url} has kind `openai` and cannot load adapter {name} "
            f"({path}). Give the release a pool of kind `vllm`."
        )

    async def unload(self, name: str) -> None:
        """Do nothing: there is nothing to forget."""

    async def probe(self, model: str) -> None:
        """Ask for one token of a chat; the newer upstreams have no /v1/completions."""
        request = {
            "model": self.base_model or model,
            "messages": [{"role": "user", "content": "1"}],
            "max_tokens": 1,
        }
        answer = await self._line.post("/v1/chat/completions", request, _PROBE_SECONDS)
        if not answer.is_success:
            raise self._line.refusal(f"answer a probe of {request['model']}", answer)


class _Model(msgspec.Struct):
    id: str
    root: str | None = None
    """An adapter's path."""
    parent: str | None = None
    """The base model of an adapter; a base model has none."""
    max_model_len: int | None = None


class _Models(msgspec.Struct):
    data: list[_Model]


class _Answer(msgspec.Struct):
    model: str


_Shape = TypeVar("_Shape", _Models, _Answer)


class _Line:
    """HTTP to one replica: the only place where httpx's errors become ours."""

    def __init__(
        self, url: str, client: httpx.AsyncClient, read_api_key: Callable[[], str] = lambda: ""
    ) -> None:
        self.url = url
        self._client = client
        self._read_api_key = read_api_key

    async def is_answered(self, path: str) -> bool:
        try:
            return (await self._send("GET", path, _HEALTH_SECONDS)).is_success
        except (EngineError, ConfigurationError):
            return False

    async def list_models(self) -> list[_Model]:
        answer = await self._send("GET", "/v1/models", _LIST_SECONDS)
        if not answer.is_success:
            raise self.refusal("list its models", answer)
        return self.read(answer, _Models).data

    def read(self, answer: httpx.Response, shape: type[_Shape]) -> _Shape:
        try:
            return msgspec.json.decode(answer.content, type=shape)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise EngineError(
                f"The engine {self.url} answered {answer.request.url.path} with what no engine "
                f"says ({error}). Check that the address is an engine's."
            ) from error

    async def post(self, path: str, body: dict[str, Any], seconds: float) -> httpx.Response:
        return await self._send("POST", path, seconds, body)

    async def _send(
        self, method: str, path: str, seconds: float, body: dict[str, Any] | None = None
    ) -> httpx.Response:
        api_key = self._read_api_key()
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        try:
            return await self._client.request(
                method, self.url + path, json=body, headers=headers, timeout=seconds
            )
        except httpx.TimeoutException as error:
            raise EngineTimeoutError(
                f"The engine {self.url} did not answer {method} {path} within {seconds:.0f} s."
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise EngineError(
                f"The engine {self.url} cannot be reached: {str(error) or type(error).__name__}."
            ) from error

    def refusal(self, deed: str, answer: httpx.Response) -> EngineError:
        return EngineError(
            f"The engine {self.url} did not {deed} ({answer.status_code}): {_words_of(answer)}"
        )


def taken_by_adapter(url: str, name: str, known_path: str, path: str) -> ConflictError:
    """The error for a name that already means other weights."""
    return ConflictError(
        f"The engine {url} has adapter {name} from {known_path}, not from {path}. Names are never "
        "reused for other weights: import the adapter again to get a new one."
    )


def _words_of(answer: httpx.Response) -> str:
    """Return what the engine said, from OpenAI's error shape where it has it."""
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:500]
