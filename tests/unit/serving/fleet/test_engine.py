"""What goes wrong on the way to an engine becomes an error of ours that names the replica."""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from monitoring.ingest_metrics import IngestMetrics
from retrain.worker import make_jobs
from serving.errors import ConfigurationError, EngineError, EngineTimeoutError
from serving.fleet.engine import OpenAIEngine, VllmEngine
from serving.fleet.engines import engines_of, read_api_key, urls_of
from serving.fleet.memory import MemoryEngine
from serving.sections import PoolSettings
from serving.settings import Settings
from serving.store.database import Database
from serving.types import PoolKind

URL = "http://10.0.0.7:8000"


async def test_an_engine_that_is_not_there_is_an_engine_error() -> None:
    """A refused connection names the replica, and is a state of health, not an exception."""
    engine = vllm(raising(httpx.ConnectError("All connection attempts failed")))
    assert not await engine.is_healthy()
    with pytest.raises(EngineError, match=f"{URL} cannot be reached: All connection") as raised:
        await engine.list_adapters()
    assert raised.value.status == 502


async def test_an_engine_that_is_silent_is_a_timeout() -> None:
    """A deadline that passes names the replica and the call."""
    engine = vllm(raising(httpx.ReadTimeout("")))
    assert not await engine.is_healthy()
    with pytest.raises(EngineTimeoutError, match=f"{URL} did not answer POST /v1/load_lora"):
        await engine.load("a-v1-00000000", "/a")


async def test_an_engine_that_answers_503_is_not_healthy() -> None:
    """vLLM answers /health with 503 once its EngineCore is dead."""
    assert not await vllm(lambda _: httpx.Response(503)).is_healthy()


async def test_an_error_that_is_not_json_is_quoted() -> None:
    """A proxy's error page is told as it is."""
    engine = vllm(lambda _: httpx.Response(500, text="Internal Server Error"))
    with pytest.raises(EngineError, match=r"\(500\): Internal Server Error"):
        await engine.unload("a-v1-00000000")


@pytest.mark.parametrize(
    "body", [b"<html>Welcome!</html>", b"[]", b'{"data": 1}', b'{"data": [{}]}', b'"\xff"']
)
async def test_an_answer_that_is_no_engines_is_an_engine_error(body: bytes) -> None:
    """A web server at an engine's address answers 200 to everything, and is named."""
    engine = vllm(lambda _: httpx.Response(200, content=body))
    with pytest.raises(EngineError, match=f"{URL} answered /v1/models with what no engine says"):
        await engine.list_adapters()
    with pytest.raises(EngineError, match="answered /v1/completions with what"):
        await engine.probe("a-v1-00000000")


async def test_a_broken_encoding_and_a_bad_address_are_engine_errors() -> None:
    """Neither is a failure of transport to httpx; to whoever looks after engines they are."""
    packed = {"content-encoding": "gzip"}
    plain = vllm(lambda _: httpx.Response(200, headers=packed, stream=_Plain()))
    nowhere = VllmEngine("http://[", httpx.AsyncClient())
    for engine in (plain, nowhere):
        assert not await engine.is_healthy()
        with pytest.raises(EngineError, match="cannot be reached"):
            await engine.list_adapters()


async def test_an_answer_by_another_model_fails_the_probe() -> None:
    """An engine that answers for an adapter with its base must not get traffic."""
    engine = vllm(lambda _: httpx.Response(200, json={"model": "base"}))
    with pytest.raises(EngineError, match="answered a probe of a-v1-00000000 with base"):
        await engine.probe("a-v1-00000000")


async def test_an_upstream_with_a_key_gets_it_on_every_call() -> None:
    """Pools of kind `openai` send the bearer key; the probe is a chat of one token."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={})

    engine = openai(answer)
    assert await engine.is_healthy()
    await engine.probe("base")
    assert [request.url.path for request in seen] == ["/v1/models", "/v1/chat/completions"]
    assert {request.headers["Authorization"] for request in seen} == {"Bearer sk-upstream"}
    assert json.loads(seen[1].content)["model"] == "gpt-x"


async def test_an_upstream_takes_no_adapters() -> None:
    """Loading is refused with the mend; listing and unloading find nothing to do."""
    engine = openai(lambda _: httpx.Response(200, json={}))
    with pytest.raises(ConfigurationError, match="a pool of kind `vllm`"):
        await engine.load("a-v1-00000000", "/a")
    assert await engine.list_adapters() == {}
    await engine.unload("a-v1-00000000")


async def test_the_twin_fails_on_demand() -> None:
    """Down: nothing answers. Unhealthy: it answers and says so. Restarted: no adapters."""
    engine = MemoryEngine()
    await engine.load("a-v1-00000000", "/a")
    engine.is_unhealthy = True
    assert not await engine.is_healthy()
    engine.is_down = True
    with pytest.raises(EngineError, match="cannot be reached"):
        await engine.list_adapters()
    engine.restart()
    assert await engine.is_healthy()
    assert await engine.list_adapters() == {}
    engine.fail_probe = "EngineCore is dead"
    with pytest.raises(EngineError, match="EngineCore is dead"):
        await engine.probe("base")


async def test_engines_follow_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ports run upwards over all pools started here; given URLs are taken as they are."""
    monkeypatch.setenv("UPSTREAM_KEY", "sk-upstream")
    settings = Settings(pools=POOLS)
    async with httpx.AsyncClient() as client:
        engines = engines_of(settings, client)
    urls = {name: [engine.url for engine in replicas] for name, replicas in engines.items()}
    assert urls == {
        "small": ["http://127.0.0.1:8100", "http://127.0.0.1:8101"],
        "remote": ["http://gpu-1:8000"],
        "hosted": ["https://api.example.com"],
        "large": ["http://127.0.0.1:8102"],
    }
    assert isinstance(engines["hosted"][0], OpenAIEngine)
    assert isinstance(engines["remote"][0], VllmEngine)


async def test_a_key_is_asked_for_by_whoever_uses_it() -> None:
    """A command that speaks to no upstream needs no key of it; who does is told the variable."""
    async with httpx.AsyncClient() as client:
        engine = engines_of(Settings(pools=POOLS), client)["hosted"][0]
        assert not await engine.is_healthy()
        with pytest.raises(ConfigurationError, match=r"\$UPSTREAM_KEY"):
            await engine.probe("base")


async def test_the_ingest_sidecar_needs_no_upstreams_key(
    database: Database, tmp_path: Path
) -> None:
    """Only jobs that ask engines do; they say so at the start."""
    settings = Settings(home=tmp_path, pools=POOLS)
    async with httpx.AsyncClient() as client:
        assert [
            job.name for job in make_jobs(settings, database, client, "ingest", IngestMetrics())
        ] == ["ingest"]
        with pytest.raises(ConfigurationError, match=r"\$UPSTREAM_KEY"):
            make_jobs(settings, database, client, None, IngestMetrics())


def test_an_upstream_without_an_address_is_refused() -> None:
    """A pool of kind `openai` is never started here, so it needs `urls`."""
    pool = PoolSettings(name="hosted", kind=PoolKind.OPENAI)
    with pytest.raises(ConfigurationError, match="no `urls`"):
        urls_of(Settings(pools=(pool,)), pool)


POOLS = (
    PoolSettings(name="small", base_model="/models/small", replicas=2),
    PoolSettings(name="remote", served_name="remote", urls=("http://gpu-1:8000/",)),
    PoolSettings(
        name="hosted",
        served_name="hosted",
        kind=PoolKind.OPENAI,
        urls=("https://api.example.com",),
        api_key_env="UPSTREAM_KEY",
    ),
    PoolSettings(name="large", served_name="large", base_model="/models/large"),
)


@pytest.mark.parametrize("key", ["sk-1\n", "sk 1", "sk-\u00e9"])
def test_a_key_that_no_header_takes_is_refused(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is read, and without being told: a file's last line end is the usual case."""
    monkeypatch.setenv("UPSTREAM_KEY", key)
    with pytest.raises(ConfigurationError, match=r"\$UPSTREAM_KEY") as caught:
        read_api_key(POOLS[2])
    assert "sk" not in caught.value.message


Answer = Callable[[httpx.Request], httpx.Response]


class _Plain(httpx.AsyncByteStream):
    """A body that is not packed, whatever its headers say."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"plain"


def vllm(answer: Answer) -> VllmEngine:
    """An engine whose replica answers like this."""
    return VllmEngine(URL, httpx.AsyncClient(transport=httpx.MockTransport(answer)))


def openai(answer: Answer) -> OpenAIEngine:
    """An upstream that answers like this."""
    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    return OpenAIEngine(URL, client, lambda: "sk-upstream", "gpt-x")


def raising(error: httpx.TransportError) -> Answer:
    """An answer that never comes."""

    def answer(request: httpx.Request) -> httpx.Response:
        raise error

    return answer
