"""The engine's twin in memory: the same answers without weights, and failures on demand."""

from serving.errors import ConflictError, EngineError
from serving.fleet.engine import taken_by_adapter


class MemoryEngine:
    """An engine for unit tests; `tests/contracts/test_engine.py` holds it to vLLM's behaviour.

    Attributes:
        fail_load: what the engine says when it refuses to load; empty: it loads.
        fail_probe: what the engine says instead of answering a probe; empty: it answers.
        is_down: nobody listens: every call fails, as at a killed engine.
        is_unhealthy: the engine listens and says that it is not well.
        num_context_tokens: what prompt and answer may take together.
        loads, unloads: the names it was asked to load and unload, in order.
    """

    def __init__(self, url: str = "http://127.0.0.1:8100", *, served_name: str = "base") -> None:
        self.url = url
        self.served_name = served_name
        self.fail_load = ""
        self.fail_probe = ""
        self.is_down = False
        self.is_unhealthy = False
        self.num_context_tokens = 1_024
        self.loads: list[str] = []
        self.unloads: list[str] = []
        self._adapters: dict[str, str] = {}

    def restart(self) -> None:
        """Come back as a restarted engine does: well, and with no adapter."""
        self._adapters = {}
        self.is_down = False
        self.is_unhealthy = False

    async def is_healthy(self) -> bool:
        """Whether the engine is up and well."""
        return not self.is_down and not self.is_unhealthy

    async def list_adapters(self) -> dict[str, str]:
        """Return name -> path of what was loaded since the last restart."""
        self._check_is_up()
        return dict(self._adapters)

    async def context_tokens(self) -> int | None:
        """Return what a test says."""
        self._check_is_up()
        return self.num_context_tokens

    async def load(self, name: str, path: str) -> None:
        """Remember an adapter."""
        self._check_is_up()
        self.loads.append(name)
        if name == self.served_name:
            raise ConflictError(
                f"The engine {self.url} cannot load adapter {name}: it is the base model's name."
            )
        known_path = self._adapters.get(name)
        if known_path == path:
            return
        if known_path is not None:
            raise taken_by_adapter(self.url, name, known_path, path)
        if self.fail_load:
            raise EngineError(
                f"The engine {self.url} did not load adapter {name} from {path} (500): "
                f"{self.fail_load}"
            )
        self._adapters[name] = path

    async def unload(self, name: str) -> None:
        """Forget an adapter."""
        self._check_is_up()
        self.unloads.append(name)
        self._adapters.pop(name, None)

    async def probe(self, model: str) -> None:
        """Answer for the base model and for what is loaded."""
        self._check_is_up()
        if self.fail_probe:
            raise EngineError(
                f"The engine {self.url} did not answer a probe of {model} (500): {self.fail_probe}"
            )
        if model != self.served_name and model not in self._adapters:
            raise EngineError(
                f"The engine {self.url} did not answer a probe of {model} (404): "
                f"The model `{model}` does not exist."
            )

    def _check_is_up(self) -> None:
        if self.is_down:
            raise EngineError(f"The engine {self.url} cannot be reached: connection refused.")
