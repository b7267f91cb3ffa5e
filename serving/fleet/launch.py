"""How vLLM is started here: a pure decision from settings and hardware to a command line.

What the flags and variables do was read in, and tried with, vLLM 0.32.
"""

import os
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from serving.errors import ConfigurationError
from serving.fleet.engines import num_engines_here, urls_of
from serving.fleet.hardware import Hardware
from serving.sections import PoolSettings
from serving.settings import Settings

# By module: the console script of the CPU build does not start.
_SERVER = "vllm.entrypoints.openai.api_server"
_GIB = 2**30
_DATABASE = ("STROP_STORE", "PGPASSWORD")
"""Begin the name of every variable that may hold the database's password."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchPlan:
    """One engine process."""

    argv: tuple[str, ...]
    url: str
    env: Mapping[str, str]
    """Variables that must be so."""
    defaults: Mapping[str, str]
    """Variables that the owner of the machine may have set otherwise."""
    secrets: frozenset[str]
    """Variables that are not an engine's business."""

    def environment(self, outer: Mapping[str, str]) -> dict[str, str]:
        """Return the whole environment of the process, started from one that has `outer`."""
        return {**self.defaults, **without_secrets(outer, self.secrets), **self.env}


def without_secrets(outer: Mapping[str, str], secrets: Collection[str]) -> dict[str, str]:
    """Return the environment for a child that asks neither the database nor an upstream.

    Args:
        outer: our own.
        secrets: names of the variables with upstreams' keys.
    """
    return {
        name: value
        for name, value in outer.items()
        if name not in secrets and not name.upper().startswith(_DATABASE)
    }


def launch_plan(
    settings: Settings, pool: PoolSettings, replica: int, hardware: Hardware
) -> LaunchPlan:
    """Decide how replica number `replica` (from 0) of a pool is started on this hardware.

    Raises:
        ConfigurationError: the pool names no base model or one that is not there, is not started
            here, or has no such replica.
    """
    _check_is_ours(pool, replica)
    base_model, is_folder = find_base_model(pool)
    url = urls_of(settings, pool)[replica]
    return LaunchPlan(
        argv=(
            *(sys.executable, "-m", _SERVER),
            *("--model", base_model, "--served-model-name", pool.served_name),
            *_listening(url),
            *_adapters(pool),
            *_device(settings, hardware),
            *pool.args,
        ),
        url=url,
        env={
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
            # Empty is none at all: resolvers would load adapters that nobody here named.
            "VLLM_PLUGINS": "",
            **({"HF_HUB_OFFLINE": "1"} if is_folder else {}),
        },
        defaults={
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            **({} if hardware.has_gpu else _threads(settings, hardware)),
        },
        secrets=settings.key_variables,
    )


def run_engine(plan: LaunchPlan) -> NoReturn:
    """Become the engine: this process is replaced."""
    os.execvpe(plan.argv[0], plan.argv, plan.environment(os.environ))  # noqa: S606 - our own argv


def _check_is_ours(pool: PoolSettings, replica: int) -> None:
    if not pool.is_launched_here:
        raise ConfigurationError(
            f"The pool {pool.name!r} is reached by URL; its engines are not started here."
        )
    if not 0 <= replica < pool.replicas:
        raise ConfigurationError(
            f"The pool {pool.name!r} has no replica {replica}: it has {pool.replicas}, from 0."
        )


def find_base_model(pool: PoolSettings) -> tuple[str, bool]:
    """Return what vLLM is to load, and whether it is a folder rather than a hub name.

    Raises:
        ConfigurationError: the pool names none, or a folder that is not there.
    """
    if not pool.base_model:
        raise ConfigurationError(
            f"The pool {pool.name!r} names no base model. Set engine.base_model (or base_model of "
            "the pool) to a Hugging Face folder or hub name."
        )
    folder = Path(pool.base_model)
    if folder.is_dir():
        return str(folder.absolute()), True
    if folder.is_absolute() or pool.base_model.startswith("."):
        raise ConfigurationError(
            f"The base model {pool.base_model} of pool {pool.name!r} is not there."
        )
    return pool.base_model, False


def _listening(url: str) -> tuple[str, ...]:
    # Loopback only: the adapter endpoints take any path. One process: vLLM refuses them to more.
    port = url.rpartition(":")[2]
    return ("--host", "127.0.0.1", "--port", port, "--disable-uvicorn-access-log")


def _adapters(pool: PoolSettings) -> tuple[str, ...]:
    return (
        "--enable-lora",
        *("--max-loras", str(pool.max_loras)),
        *("--max-cpu-loras", str(2 * pool.max_loras)),
        *("--max-lora-rank", str(pool.max_lora_rank)),
        "--enable-prefix-caching",
    )


def _device(settings: Settings, hardware: Hardware) -> tuple[str, ...]:
    engine = settings.engine
    # `auto` is the base's own length, or less where the KV cache could not hold one request.
    length = ("--max-model-len", "auto")
    if hardware.has_gpu:
        return (*length, "--gpu-memory-utilization", str(engine.gpu_memory_utilization))
    # VLLM_CPU_KVCACHE_SPACE would take whole GiB only. A stated size also spares the warm-up.
    cache_bytes = int(engine.kv_cache_gib * _GIB)
    return (
        *length,
        *("--kv-cache-memory-bytes", str(cache_bytes)),
        # A CPU without bfloat16 instructions emulates them: 4.8 requests/s against 18.4 in float32.
        *("--dtype", "bfloat16" if hardware.has_cpu_bf16 else "float32", "--enforce-eager"),
    )


def _threads(settings: Settings, hardware: Hardware) -> dict[str, str]:
    """Share the cores between the engines here, and leave one to everything else.

    OpenMP's threads wait for each other by spinning: with as many threads as cores, 32 tokens took
    13 s beside another busy process, 0.9 s with one core less. vLLM would bind each engine to the
    same cores. It also would put the model into a process of its own; without that a start takes a
    third less time and 0.6 GiB less memory.
    """
    num_threads = max(1, (hardware.num_cores - 1) // num_engines_here(settings))
    return {
        "OMP_NUM_THREADS": str(num_threads),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    }
