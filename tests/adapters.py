"""LoRA adapters for tests: PEFT folders with random weights that fit any Llama-shaped base."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

RANK = 8


def make_adapter(folder: Path, base: Path, *, seed: int, rank: int = RANK) -> Path:
    """Write an adapter for the query and value projections of every layer; return the folder.

    Other seeds are other weights, strong enough that answers differ from the base's.
    """
    config = json.loads((base / "config.json").read_text())
    hidden = config["hidden_size"]
    head_dim = config.get("head_dim") or hidden // config["num_attention_heads"]
    widths = {
        "q_proj": config["num_attention_heads"] * head_dim,
        "v_proj": config["num_key_value_heads"] * head_dim,
    }
    random = np.random.default_rng(seed)
    weights = {}
    for layer in range(config["num_hidden_layers"]):
        for module, width in widths.items():
            name = f"base_model.model.model.layers.{layer}.self_attn.{module}"
            weights[f"{name}.lora_A.weight"] = random.normal(0, 0.2, (rank, hidden))
            weights[f"{name}.lora_B.weight"] = random.normal(0, 0.2, (width, rank))
    folder.mkdir(parents=True)
    save_file(
        {name: values.astype(np.float32) for name, values in weights.items()},
        folder / "adapter_model.safetensors",
    )
    (folder / "adapter_config.json").write_text(json.dumps(_config(base, rank, list(widths))))
    return folder


def _config(base: Path, rank: int, modules: list[str]) -> dict[str, object]:
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base),
        "r": rank,
        "lora_alpha": 2 * rank,
        "lora_dropout": 0.0,
        "target_modules": modules,
        "bias": "none",
        "inference_mode": True,
    }
