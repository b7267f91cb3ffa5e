"""A tiny base model, PEFT folders made for it, and engines in memory that serve it."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from safetensors.numpy import save_file

from serving.fleet.adapters import import_adapter
from serving.fleet.memory import MemoryEngine
from serving.settings import Settings
from serving.store.aliases import create_alias
from serving.store.database import Database
from serving.store.tables import Adapter, Alias, Release
from serving.types import Task
from tests.walks import Engines, Walks

# Module -> (in, out) of the base model's weights.
MODULES = {
    "model.layers.0.self_attn.q_proj": (16, 16),
    "model.layers.0.self_attn.v_proj": (16, 8),
    "model.layers.0.mlp.down_proj": (32, 16),
}
MakeFolder = Callable[..., Path]
AddRelease = Callable[[], Awaitable[tuple[Adapter, Release]]]


@pytest.fixture
def base_model(tmp_path: Path) -> Path:
    """A folder with a base model's config and weights."""
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    weights = {
        f"{name}.weight": numpy.zeros((size_out, size_in), numpy.float32)
        for name, (size_in, size_out) in MODULES.items()
    }
    save_file(weights, folder / "model.safetensors")
    return folder


@pytest.fixture
def settings(settings: Settings, base_model: Path) -> Settings:
    """The room's settings, with a base model that lies on this machine."""
    pools = tuple(
        pool.model_copy(update={"base_model": str(base_model)}) for pool in settings.pools
    )
    return settings.model_copy(update={"pools": pools})


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """Make what PEFT's `save_pretrained` writes; each call another adapter."""
    made = 0

    def make(
        *,
        rank: int = 8,
        tensors: dict[str, Any] | None = None,
        drop: tuple[str, ...] = (),
        **config: Any,
    ) -> Path:
        nonlocal made
        made += 1
        folder = tmp_path / f"peft-{made}"
        folder.mkdir()
        written = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "r": rank,
            "lora_alpha": 16,
            "target_modules": ["q_proj", "v_proj", "down_proj"],
            "base_model_name_or_path": "somewhere/else",
            "init_lora_weights": True,
            "modules_to_save": None,
            "bias": "none",
            **config,
        }
        (folder / "adapter_config.json").write_text(json.dumps(written))
        weights = lora_weights(rank, seed=made) | (tensors or {})
        for name in drop:
            del weights[name]
        save_file(weights, folder / "adapter_model.safetensors")
        return folder

    return make


def lora_weights(rank: int, seed: int) -> dict[str, Any]:
    """Return the pairs of a LoRA for every module of the base model."""
    random = numpy.random.default_rng(seed)
    weights = {}
    for module, (size_in, size_out) in MODULES.items():
        name = f"base_model.model.{module}"
        for side, shape in (("A", (rank, size_in)), ("B", (size_out, rank))):
            weights[f"{name}.lora_{side}.weight"] = random.normal(size=shape).astype("float32")
    return weights


@pytest.fixture
async def alias(database: Database, settings: Settings) -> Alias:
    """The alias `support` of tenant `acme`, on pool `small`."""
    async with database.session() as session:
        return await create_alias(
            session,
            settings,
            name="support",
            tenant="acme",
            task=Task.CHAT,
            system_prompt="Be brief.",
        )


@pytest.fixture
def add_release(
    database: Database, settings: Settings, alias: Alias, make_folder: MakeFolder
) -> AddRelease:
    """Import another adapter of `support`; give its row and its candidate release."""

    async def add() -> tuple[Adapter, Release]:
        async with database.session() as session:
            return await import_adapter(session, settings, alias, make_folder(), "a test")

    return add


@pytest.fixture
def engines(settings: Settings) -> dict[str, tuple[MemoryEngine, ...]]:
    """An engine in memory for every replica of the settings."""
    return {
        pool.name: tuple(MemoryEngine(url, served_name=pool.served_name) for url in pool.urls)
        for pool in settings.pools
    }


@pytest.fixture
def walks(database: Database, settings: Settings, engines: Engines, alias: Alias) -> Walks:
    """The walks of `support`."""
    return Walks(database, settings, engines, alias)
