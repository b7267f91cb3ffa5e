"""The adapter of the demo alias: a plain PEFT loop over Halden's rows from before the change."""

from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model

from deploy.demo.company import AFTER, BEFORE, Row, routing_rows
from deploy.demo.corpus import Chat
from deploy.demo.measure import exact_match, load
from deploy.demo.training import Follow, Plan, Watch, answers_only, fit

BASE_NAME = "strop-demo-base"
"""What the adapter calls its base: a name, because a path would be true on one machine only."""


@dataclass(frozen=True)
class AdapterSpec:
    """How to make the adapter; `seed` also draws the traffic."""

    seed: int = 11
    num_train: int = 1_500
    num_eval: int = 500
    rank: int = 16
    alpha: int = 32
    learning_rate: float = 2e-3
    epochs: int = 5
    batch_size: int = 32


@dataclass(frozen=True)
class AdapterReport:
    """Exact match (0 to 1) on rows never trained on; losses in nats per answer token."""

    num_train: int
    num_eval: int
    num_steps: int
    epoch_losses: list[float]
    match_base: float
    match_adapter: float
    match_after_change: float


def build_adapter(spec: AdapterSpec, base: Path, out: Path, follow: Follow) -> AdapterReport:
    """Draw rows, train, write the PEFT folder, then measure what stands on disk."""
    rows = routing_rows(BEFORE, spec.seed, spec.num_train + spec.num_eval)
    train, held_out = rows[: spec.num_train], rows[spec.num_train :]
    changed = routing_rows(AFTER, spec.seed + 1, spec.num_eval)
    losses = train_adapter(spec, base, train, out, follow("adapter"))
    bare, tokenizer = load(base)
    match_base = exact_match(bare, tokenizer, _chats(held_out))
    adapted, tokenizer = load(base, out)
    return AdapterReport(
        num_train=len(train),
        num_eval=len(held_out),
        num_steps=-(-len(train) // spec.batch_size) * spec.epochs,
        epoch_losses=losses,
        match_base=match_base,
        match_adapter=exact_match(adapted, tokenizer, _chats(held_out)),
        match_after_change=exact_match(adapted, tokenizer, _chats(changed)),
    )


def train_adapter(
    spec: AdapterSpec, base: Path, rows: list[Row], out: Path, watch: Watch
) -> list[float]:
    """Train on `rows`, write `out`, return the mean loss of each epoch."""
    torch.manual_seed(spec.seed)
    bare, tokenizer = load(base)
    model = get_peft_model(bare, _lora(spec))
    model.peft_config["default"].base_model_name_or_path = BASE_NAME
    examples = [answers_only(tokenizer, chat) for chat in _chats(rows)]
    plan = Plan(spec.epochs, spec.learning_rate, spec.batch_size, spec.seed)
    losses = fit(model, examples, plan, watch)
    # "auto" would look for the base's name on a hub to learn whether its vocabulary grew.
    model.to(torch.bfloat16).save_pretrained(str(out), save_embedding_layers=False)
    return losses


def _lora(spec: AdapterSpec) -> LoraConfig:
    return LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,
        lora_dropout=0.0,
        target_modules=[
            "q_proj",
            "k_proj",
            "v_proj",
            "o_proj",
            "gate_proj",
            "up_proj",
            "down_proj",
        ],
        task_type="CAUSAL_LM",
    )


def _chats(rows: list[Row]) -> list[Chat]:
    return [row["messages"] for row in rows]
