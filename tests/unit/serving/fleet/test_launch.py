"""How vLLM is started: a pure function of settings and hardware."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from serving.errors import ConfigurationError
from serving.fleet.hardware import Hardware
from serving.fleet.launch import LaunchPlan, launch_plan
from serving.sections import EngineSettings, PoolSettings
from serving.settings import Settings
from serving.types import PoolKind

LAPTOP = Hardware(has_gpu=False, has_cpu_bf16=False, num_cores=8, memory_bytes=16 * 2**30)
SERVER = Hardware(has_gpu=True, has_cpu_bf16=True, num_cores=16, memory_bytes=128 * 2**30)


@pytest.fixture
def pool(tmp_path: Path) -> PoolSettings:
    """A pool of two replicas over a local folder."""
    return PoolSettings(name="small", base_model=str(tmp_path), replicas=2, args=("--seed", "7"))


def test_every_engine_holds_adapters_and_listens_on_loopback(pool: PoolSettings) -> None:
    """`max_loras` fit into one batch, twice as many in memory; the adapter routes stay private."""
    plan = launch_plan(Settings(pools=(pool,)), pool, 1, SERVER)
    assert plan.argv[:3] == (sys.executable, "-m", "vllm.entrypoints.openai.api_server")
    assert "--enable-lora" in plan.argv
    assert value_of(plan, "--max-loras") == "4"
    assert value_of(plan, "--max-cpu-loras") == "8"
    assert value_of(plan, "--max-lora-rank") == "16"
    assert value_of(plan, "--served-model-name") == "base"
    assert (value_of(plan, "--host"), value_of(plan, "--port")) == ("127.0.0.1", "8101")
    assert plan.url == "http://127.0.0.1:8101"


def test_what_the_owner_of_the_pool_says_comes_last(pool: PoolSettings) -> None:
    """`args` of the pool win over ours: vLLM takes the last of two equal flags."""
    assert launch_plan(Settings(pools=(pool,)), pool, 0, LAPTOP).argv[-2:] == ("--seed", "7")


def test_a_cpu_engine_gets_a_stated_cache_and_its_share_of_cores(pool: PoolSettings) -> None:
    """Two engines on eight cores: three threads each, one core for everything else."""
    settings = Settings(pools=(pool,), engine=EngineSettings(kv_cache_gib=0.5))
    plan = launch_plan(settings, pool, 0, LAPTOP)
    assert value_of(plan, "--kv-cache-memory-bytes") == str(2**29)
    assert "--enforce-eager" in plan.argv
    assert plan.defaults["OMP_NUM_THREADS"] == "3"
    assert plan.defaults["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"


@pytest.mark.parametrize(("has_cpu_bf16", "dtype"), [(True, "bfloat16"), (False, "float32")])
def test_a_cpu_engine_calculates_in_what_the_cpu_has(
    pool: PoolSettings, has_cpu_bf16: bool, dtype: str
) -> None:
    """Emulated bfloat16 is four times slower than float32."""
    hardware = replace(LAPTOP, has_cpu_bf16=has_cpu_bf16)
    assert value_of(launch_plan(Settings(pools=(pool,)), pool, 0, hardware), "--dtype") == dtype


def test_every_engine_has_a_thread_even_on_one_core(pool: PoolSettings) -> None:
    """Fewer cores than engines still start."""
    hardware = replace(LAPTOP, num_cores=1)
    plan = launch_plan(Settings(pools=(pool,)), pool, 0, hardware)
    assert plan.defaults["OMP_NUM_THREADS"] == "1"


def test_a_gpu_engine_takes_its_share_of_the_card(pool: PoolSettings) -> None:
    """On a GPU vLLM compiles and sizes its own cache; CPU settings stay away."""
    settings = Settings(pools=(pool,), engine=EngineSettings(gpu_memory_utilization=0.5))
    plan = launch_plan(settings, pool, 0, SERVER)
    assert value_of(plan, "--gpu-memory-utilization") == "0.5"
    assert "--enforce-eager" not in plan.argv
    assert "--kv-cache-memory-bytes" not in plan.argv
    assert "OMP_NUM_THREADS" not in plan.defaults


def test_nothing_calls_home(pool: PoolSettings) -> None:
    """No usage statistics, no hub for a local folder, no plugins that load adapters."""
    environment = launch_plan(Settings(pools=(pool,)), pool, 0, LAPTOP).environment({})
    assert environment["VLLM_NO_USAGE_STATS"] == environment["DO_NOT_TRACK"] == "1"
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["VLLM_PLUGINS"] == ""
    assert environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "1"


def test_a_hub_name_may_reach_the_hub() -> None:
    """A base model that is no folder is left to vLLM to find."""
    pool = PoolSettings(name="small", base_model="org/model-1b")
    plan = launch_plan(Settings(pools=(pool,)), pool, 0, LAPTOP)
    assert value_of(plan, "--model") == "org/model-1b"
    assert "HF_HUB_OFFLINE" not in plan.env


def test_the_machines_owner_may_set_threads_but_not_open_the_engine(pool: PoolSettings) -> None:
    """Tuning variables of the environment win; what Strop depends on does not give way."""
    plan = launch_plan(Settings(pools=(pool,)), pool, 0, LAPTOP)
    outer = {"OMP_NUM_THREADS": "16", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "0", "PATH": "/bin"}
    environment = plan.environment(outer)
    assert environment["OMP_NUM_THREADS"] == "16"
    assert environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "1"
    assert environment["PATH"] == "/bin"


def test_an_engine_gets_no_secret_of_ours(pool: PoolSettings) -> None:
    """Neither the database's password, however its variable is spelt, nor any upstream's key."""
    hosted = PoolSettings(
        name="hosted", served_name="hosted", kind=PoolKind.OPENAI, api_key_env="HOSTED_KEY"
    )
    plan = launch_plan(Settings(pools=(pool, hosted)), pool, 0, LAPTOP)
    names = ("STROP_STORE__URL", "strop_store__url", "STROP_STORE", "PGPASSWORD", "HOSTED_KEY")
    ours = dict.fromkeys(names, "x")
    environment = plan.environment(ours | {"HF_TOKEN": "the engine's own"})
    assert environment.keys().isdisjoint(ours)
    assert environment["HF_TOKEN"] == "the engine's own"


@pytest.mark.parametrize(
    ("pool", "replica", "words"),
    [
        (PoolSettings(name="p"), 0, "names no base model"),
        (PoolSettings(name="p", base_model="/no/such/folder"), 0, "is not there"),
        (PoolSettings(name="p", base_model="org/model"), 1, "has no replica 1"),
        (PoolSettings(name="p", urls=("http://gpu:8000",)), 0, "reached by URL"),
        (PoolSettings(name="p", kind=PoolKind.OPENAI), 0, "reached by URL"),
    ],
)
def test_what_cannot_be_started_is_refused(pool: PoolSettings, replica: int, words: str) -> None:
    """A wrong pool is told before a process is started."""
    with pytest.raises(ConfigurationError, match=words):
        launch_plan(Settings(pools=(pool,)), pool, replica, LAPTOP)


def value_of(plan: LaunchPlan, flag: str) -> str:
    """The value that follows a flag."""
    return plan.argv[plan.argv.index(flag) + 1]
