"""A tiny base and tiny trainings, made without torch: the trainer's own process imports that."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from retrain.recipe import Recipe, default_recipe
from retrain.spec import Limits, TrainingSpec, write_spec

ROOT = Path(__file__).parent.parent
HIDDEN, INNER, LAYERS = 64, 128, 2
SPECIAL = ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>")
TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|' + message['role'] + '|>' + (message['content'] or '') + '<|end|>' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)


def make_base(folder: Path) -> Path:
    """Write a Llama of 100,000 random parameters with a tokenizer of single bytes."""
    folder.mkdir(parents=True)
    alphabet = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={t: at for at, t in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.save(str(folder / "tokenizer.json"))
    _write(folder / "tokenizer_config.json", _tokenizer_config())
    _write(folder / "config.json", _model_config(len(alphabet)))
    save_file(_weights(len(alphabet)), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def make_training(
    folder: Path, base: Path, *, num_rows: int = 96, limits: Limits | None = None, **recipe: Any
) -> Path:
    """Write the rows and the spec of a training of 18 short steps; returns the spec's path."""
    folder.mkdir(parents=True)
    small = {"batch_size": 16, "micro_batch_size": 16, "num_epochs": 3} | recipe
    spec = TrainingSpec(
        base_model=str(base),
        base_name="tiny",
        recipe=_replace(default_recipe(100_000), small),
        limits=limits or Limits(threads=1),
        train_file=str(make_rows(folder / "train.jsonl", num_rows)),
        valid_file=str(make_rows(folder / "valid.jsonl", 16)),
        adapter_dir=str(folder / "adapter"),
        checkpoint_dir=str(folder / "checkpoints"),
        progress_file=str(folder / "progress.jsonl"),
    )
    write_spec(folder / "spec.json", spec)
    return folder / "spec.json"


def make_rows(path: Path, num_rows: int) -> Path:
    """Write rows of a task that is easy: name the colour by its first letter."""
    random = Random(path.name)  # noqa: S311 - rows, no secret
    with path.open("w") as file:
        for _ in range(num_rows):
            word = random.choice(["red", "green", "blue"])
            question = f"{word} {'x' * random.randint(1, 24)}"
            turns = [{"role": "system", "content": "Sort."}, {"role": "user", "content": question}]
            answer = {"role": "assistant", "content": word[0].upper()}
            file.write(json.dumps({"prompt": turns, "completion": [answer]}) + "\n")
    return path


def run_trainer(
    spec_path: Path, *before: str, program: Sequence[str] = ("-m", "retrain.train")
) -> tuple[int, str]:
    """Run the real trainer to its end; returns its exit code and what it printed.

    Args:
        before: a command that takes the trainer's as its arguments.
        program: what Python runs, if not the trainer as it is.
    """
    done = subprocess.run(
        [*before, sys.executable, *program, str(spec_path)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def _replace(recipe: Recipe, fields: dict[str, Any]) -> Recipe:
    return msgspec.structs.replace(recipe, **fields)


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content))


def _tokenizer_config() -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<|pad|>",
        "eos_token": "<|end|>",
        "chat_template": TEMPLATE,
        "model_max_length": 512,
        "clean_up_tokenization_spaces": False,
    }


def _model_config(vocab_size: int) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocab_size,
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": 1,
        "pad_token_id": 0,
        "dtype": "float32",
    }


def _weights(vocab_size: int) -> dict[str, Any]:
    random = np.random.default_rng(0)
    shapes = {"model.embed_tokens": (vocab_size, HIDDEN)}
    for at in range(LAYERS):
        layer = f"model.layers.{at}"
        shapes |= {f"{layer}.self_attn.{name}_proj": (HIDDEN, HIDDEN) for name in "qkvo"}
        shapes |= {f"{layer}.mlp.{name}_proj": (INNER, HIDDEN) for name in ("gate", "up")}
        shapes[f"{layer}.mlp.down_proj"] = (HIDDEN, INNER)
    norms = [
        f"model.layers.{at}.{name}_layernorm"
        for at in range(LAYERS)
        for name in ("input", "post_attention")
    ]
    weights = {f"{name}.weight": random.normal(0, 0.05, shape) for name, shape in shapes.items()}
    weights |= {f"{name}.weight": np.ones(HIDDEN) for name in (*norms, "model.norm")}
    return {name: value.astype(np.float32) for name, value in weights.items()}
