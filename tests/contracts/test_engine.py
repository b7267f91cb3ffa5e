"""What every engine does, the twin in memory and real vLLM alike."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from serving.errors import ConflictError, EngineError
from serving.fleet.engine import Engine, VllmEngine
from serving.fleet.memory import MemoryEngine
from tests.adapters import make_adapter
from tests.stack import START_SECONDS
from tests.stack_fixtures import RunningVllm

# The first test that needs the real engine starts it.
pytestmark = pytest.mark.timeout(START_SECONDS + 100)

# The real engine is shared with the end-to-end tests: what is not ours stays untouched.
OURS = "contract-"

NewAdapter = Callable[[int], tuple[str, str]]
Listed = Callable[[], Awaitable[dict[str, str]]]


@pytest.fixture(params=["memory", pytest.param("vllm", marks=pytest.mark.engine)])
def running(request: pytest.FixtureRequest) -> RunningVllm | None:
    """The real engine, or None where the twin is held to the same."""
    if request.param == "memory":
        return None
    found: RunningVllm = request.getfixturevalue("vllm")
    return found


@pytest.fixture
async def engine(running: RunningVllm | None) -> AsyncIterator[Engine]:
    """An engine that holds after the test what it held before."""
    if running is None:
        yield MemoryEngine()
        return
    async with httpx.AsyncClient(trust_env=False) as client:
        real = VllmEngine(running.url, client)
        before = await real.list_adapters()
        yield real
        for name in (await real.list_adapters()).keys() - before:
            await real.unload(name)


@pytest.fixture
async def listed(engine: Engine) -> Listed:
    """What the engine lists beyond what it held before the test."""
    before = await engine.list_adapters()

    async def new_ones() -> dict[str, str]:
        found = await engine.list_adapters()
        return {name: path for name, path in found.items() if name not in before}

    return new_ones


@pytest.fixture
def new_adapter(running: RunningVllm | None, tmp_path: Path) -> NewAdapter:
    """Make an adapter of other weights per number: its name, unique in the run, and its path."""

    def make(number: int) -> tuple[str, str]:
        folder = tmp_path / f"adapter-{number}"
        if running is not None:
            make_adapter(folder, running.base_model, seed=number)
        return f"{OURS}{tmp_path.name}-{number}", str(folder)

    return make


async def test_a_running_engine_is_healthy(engine: Engine) -> None:
    """A running engine says so."""
    assert await engine.is_healthy()


async def test_the_base_answers_and_is_no_adapter(engine: Engine) -> None:
    """The base model answers, and is not listed as an adapter."""
    assert "base" not in await engine.list_adapters()
    await engine.probe("base")


async def test_an_engine_tells_how_long_a_context_it_has(engine: Engine) -> None:
    """Who asks for a longer answer than that is refused."""
    assert (await engine.context_tokens() or 0) >= 64


async def test_a_loaded_adapter_is_listed_and_answers(
    engine: Engine, new_adapter: NewAdapter, listed: Listed
) -> None:
    """After `load` an adapter is listed with its path and answers under its own name."""
    name, path = new_adapter(1)
    await engine.load(name, path)
    assert await listed() == {name: path}
    await engine.probe(name)


async def test_loading_the_same_again_is_no_error(
    engine: Engine, new_adapter: NewAdapter, listed: Listed
) -> None:
    """A retry of `load` after a lost answer succeeds."""
    name, path = new_adapter(1)
    await engine.load(name, path)
    await engine.load(name, path)
    assert await listed() == {name: path}


async def test_a_name_never_gets_other_weights(
    engine: Engine, new_adapter: NewAdapter, listed: Listed
) -> None:
    """A loaded name is refused for another path; the first stays. The error names all three."""
    (name, path), (_, other_path) = new_adapter(1), new_adapter(2)
    await engine.load(name, path)
    with pytest.raises(ConflictError) as raised:
        await engine.load(name, other_path)
    assert all(part in raised.value.message for part in (engine.url, path, other_path))
    assert await listed() == {name: path}


async def test_the_base_models_name_is_no_adapters(engine: Engine, new_adapter: NewAdapter) -> None:
    """An adapter cannot take the base model's name."""
    _, path = new_adapter(1)
    with pytest.raises(ConflictError, match="base model"):
        await engine.load("base", path)


async def test_several_adapters_live_side_by_side(
    engine: Engine, new_adapter: NewAdapter, listed: Listed
) -> None:
    """Champion, challenger and previous of an alias are loaded at once; each can go alone."""
    adapters = [new_adapter(number) for number in (1, 2, 3)]
    for name, path in adapters:
        await engine.load(name, path)
    await engine.unload(adapters[1][0])
    assert await listed() == dict([adapters[0], adapters[2]])
    await engine.probe(adapters[0][0])


async def test_an_unloaded_adapter_does_not_answer(engine: Engine, new_adapter: NewAdapter) -> None:
    """After `unload` a probe fails: the engine never falls back to its base."""
    name, path = new_adapter(1)
    await engine.load(name, path)
    await engine.unload(name)
    with pytest.raises(EngineError, match="does not exist") as raised:
        await engine.probe(name)
    assert engine.url in raised.value.message


async def test_unloading_an_unknown_adapter_is_no_error(engine: Engine) -> None:
    """A retry of `unload` after a lost answer succeeds."""
    await engine.unload("nobody-v1-00000000")


async def test_an_unloaded_adapter_can_be_loaded_again(
    engine: Engine, new_adapter: NewAdapter
) -> None:
    """The same name with the same path may come back, as after a rollback."""
    name, path = new_adapter(1)
    for _ in range(2):
        await engine.load(name, path)
        await engine.probe(name)
        await engine.unload(name)


async def test_a_failing_load_names_replica_adapter_and_cause(
    engine: Engine, running: RunningVllm | None, tmp_path: Path, listed: Listed
) -> None:
    """An adapter that the engine cannot take: EngineError with the engine's own words."""
    cause = "LoRA rank 32 is greater than max_lora_rank 16."
    folder = tmp_path / "too-wide"
    if running is None:
        assert isinstance(engine, MemoryEngine)
        engine.fail_load = cause
    else:
        make_adapter(folder, running.base_model, seed=1, rank=32)
    with pytest.raises(EngineError) as raised:
        await engine.load(f"{OURS}too-wide", str(folder))
    assert all(part in raised.value.message for part in (engine.url, "too-wide", cause))
    assert await listed() == {}


async def list_ours(engine: Engine) -> dict[str, str]:
    """What this suite loaded: name -> path."""
    adapters = await engine.list_adapters()
    return {name: path for name, path in adapters.items() if name.startswith(OURS)}
