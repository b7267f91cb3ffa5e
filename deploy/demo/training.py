"""The training loop of the base: length-sorted batches, AdamW, warm-up and cosine."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import torch

from deploy.demo.corpus import Chat

IGNORED = -100
"""The label that cross-entropy skips."""

Watch = Callable[[int, int, float], None]
"""Told after every step: steps done, steps in all, loss in nats per token."""
Follow = Callable[[str], Watch]
"""Told the name of a stage that starts; returns the stage's watch."""


@dataclass(frozen=True)
class Example:
    """Token ids of one chat, and the ids to learn (`IGNORED` where nothing is learnt)."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """How long and how fast to learn; `batch_size` counts chats."""

    epochs: int
    learning_rate: float
    batch_size: int
    seed: int
    warmup_share: float = 0.05
    weight_decay: float = 0.01


def whole_chat(tokenizer: Any, chat: Chat) -> Example:
    """Learn every token, the customer's words too: a base should know how requests sound."""
    ids = tuple(tokenizer.apply_chat_template(chat, return_dict=False))
    return Example(ids, ids)


def answers_only(tokenizer: Any, chat: Chat) -> Example:
    """Learn what the assistant says and where it stops, given everything before it."""
    ids: list[int] = []
    labels: list[int] = []
    for message in chat:
        said = tokenizer.apply_chat_template([message], return_dict=False)
        is_answer = message["role"] == "assistant"
        ids += said
        labels += [IGNORED, *said[1:]] if is_answer else [IGNORED] * len(said)
    return Example(tuple(ids), tuple(labels))


def fit(model: Any, examples: Sequence[Example], plan: Plan, watch: Watch) -> list[float]:
    """Train every parameter that requires a gradient; returns the mean loss of each epoch."""
    rng = Random(plan.seed)
    epochs = [make_batches(examples, plan.batch_size, rng) for _ in range(plan.epochs)]
    total = sum(len(batches) for batches in epochs)
    optimizer = _make_optimizer(model, plan)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _warm_cosine(total, plan.warmup_share))
    model.train()
    means = []
    for epoch in epochs:
        losses = []
        for batch in epoch:
            losses.append(_learn(model, batch, optimizer))
            schedule.step()
            watch(schedule.last_epoch, total, losses[-1])
        means.append(sum(losses) / len(losses))
    return means


def make_batches(examples: Sequence[Example], batch_size: int, rng: Random) -> list[list[Example]]:
    """Every example once, neighbours of like length, the batches in random order."""
    order = sorted(rng.sample(examples, len(examples)), key=lambda example: len(example.ids))
    batches = [order[at : at + batch_size] for at in range(0, len(order), batch_size)]
    rng.shuffle(batches)
    return batches


def _make_optimizer(model: Any, plan: Plan) -> torch.optim.Optimizer:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(
        parameters,
        lr=plan.learning_rate,
        betas=(0.9, 0.95),
        weight_decay=plan.weight_decay,
        fused=True,
    )


def _warm_cosine(total: int, warmup_share: float) -> Callable[[int], float]:
    warmup = max(1, round(total * warmup_share))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))

    return factor


def _learn(model: Any, batch: Sequence[Example], optimizer: torch.optim.Optimizer) -> float:
    ids, labels = _pad(batch)
    loss = model(input_ids=ids, labels=labels).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach())


def _pad(batch: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and labels `[batch, length]`; length is a multiple of 16, because every new shape is slow.

    Padding stands on the right, where causal attention never looks, so no mask is needed.
    """
    length = math.ceil(max(len(example.ids) for example in batch) / 16) * 16
    ids = [_fill(example.ids, length, 0) for example in batch]
    labels = [_fill(example.labels, length, IGNORED) for example in batch]
    return torch.tensor(ids), torch.tensor(labels)


def _fill(values: Sequence[int], length: int, filler: int) -> list[int]:
    return [*values, *[filler] * (length - len(values))]
