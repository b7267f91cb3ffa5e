"""The run's real vLLM: one engine on a free port, started as `strop engine` starts it."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from serving.fleet.child_log import last_words
from serving.fleet.hardware import find_hardware
from serving.fleet.launch import launch_plan
from serving.fleet.supervise import kept
from serving.settings import EngineSettings, Settings
from tests.stack import BASE_MODEL, START_SECONDS, free_port, wait_until


@dataclass(frozen=True, slots=True)
class RunningVllm:
    """A healthy vLLM without adapters."""

    url: str
    base_model: Path
    served_name: str = "base"


@pytest.fixture(scope="session")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningVllm]:
    """Real vLLM with the embedded base model, started once per run and gone after it."""
    folder = tmp_path_factory.mktemp("vllm")
    settings = Settings(
        home=folder,
        engine=EngineSettings(base_model=str(BASE_MODEL), port=free_port(), kv_cache_gib=0.25),
    )
    plan = launch_plan(settings, settings.all_pools[0], 0, find_hardware())
    log = folder / "engine.log"
    with log.open("wb") as output:
        # Under a keeper, so that a killed test run leaves no engine behind either.
        process = subprocess.Popen(
            kept(plan.argv, stop_seconds=30),
            env=plan.environment(os.environ),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

    def is_healthy() -> bool:
        assert process.poll() is None, f"vLLM ended: {last_words(log)}"
        try:
            return httpx.get(f"{plan.url}/health", timeout=5, trust_env=False).is_success
        except httpx.TransportError:
            return False

    try:
        wait_until(is_healthy, START_SECONDS, "vLLM is healthy")
        yield RunningVllm(plan.url, BASE_MODEL)
    finally:
        process.terminate()
        process.wait(90)
