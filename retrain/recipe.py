"""Recipes: how an adapter is trained. Pure, but for reading how many parameters a base has."""

import json
from math import ceil, prod
from pathlib import Path

import msgspec

from serving.errors import ConfigurationError, InvalidRequestError

SMALL_BASE = 100_000_000
"""Below this many parameters a base learns fast, forgets little, and memory is no concern."""

LARGE_BASE = 1_000_000_000
MAX_TRAINABLE_SHARE = 0.01
"""Of a large base: an adapter is a small thing beside it, to be kept, loaded and swapped as such."""

_HEADER_LENGTH_BYTES = 8


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A named way to train: plain LoRA on all linear layers, AdamW, cosine after a warm-up.

    Attributes:
        rank, alpha, dropout: of the LoRA matrices.
        batch_size: examples that make one step of the optimiser.
        micro_batch_size: examples in memory at a time; divides `batch_size`.
        max_length: tokens; longer examples are cut, and counted in the progress.
        num_epochs: at most; early stopping may end sooner.
        evaluations_per_epoch: how often validation loss is measured and a checkpoint kept.
        patience: evaluations in a row without a better loss that end the training.
        max_valid_examples: validation examples measured each time.
        saves_memory: recompute activations and never hold all logits: slower, needed by large bases.
        seed: of the matrices' first values, the order of examples, and dropout.
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.05
    learning_rate: float = 2e-4
    weight_decay: float = 0.01
    warmup_share: float = 0.03
    max_grad_norm: float = 1.0
    batch_size: int = 16
    micro_batch_size: int = 2
    max_length: int = 2048
    num_epochs: int = 3
    evaluations_per_epoch: int = 8
    patience: int = 3
    max_valid_examples: int = 256
    saves_memory: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse sizes that no training can have.

        Raises:
            ValueError: names them.
        """
        if min(self.rank, self.micro_batch_size, self.max_length, self.num_epochs) < 1:
            raise ValueError("rank, micro_batch_size, max_length and num_epochs are at least 1")
        if self.batch_size < 1 or self.batch_size % self.micro_batch_size:
            raise ValueError("batch_size must be a multiple of micro_batch_size")

    def num_steps(self, num_examples: int) -> int:
        """Return the steps of a training that is not stopped early."""
        return ceil(num_examples * self.num_epochs / self.batch_size)

    def steps_per_evaluation(self, num_examples: int) -> int:
        """Return the steps between two looks at validation loss, at least 1."""
        evaluations = self.num_epochs * self.evaluations_per_epoch
        return max(1, self.num_steps(num_examples) // evaluations)


def default_recipe(num_parameters: int, *, seed: int = 0) -> Recipe:
    """Return the recipe for a base of this size.

    Above 100 M parameters: Schulman et al. 2025, "LoRA Without Regret" (all linear layers, about
    ten times the learning rate of full fine-tuning, small batches); rank 16 keeps an 8 B base
    under 1 % trainable. Below: measured on bases of 5 M parameters, which need a ten times higher
    learning rate and more epochs, and are slowed by dropout more than they gain.
    """
    if num_parameters >= SMALL_BASE:
        return Recipe(seed=seed)
    return Recipe(
        dropout=0.0,
        learning_rate=2e-3,
        batch_size=32,
        micro_batch_size=32,
        num_epochs=6,
        evaluations_per_epoch=2,
        max_length=1024,
        saves_memory=False,
        seed=seed,
    )


def check_share(num_trainable: int, num_parameters: int) -> None:
    """Refuse an adapter that is no small part of a large base.

    Args:
        num_trainable: parameters of the adapter.
        num_parameters: of the base alone.

    Raises:
        InvalidRequestError: a base from `LARGE_BASE` on would get one of `MAX_TRAINABLE_SHARE` or more.
    """
    share = num_trainable / num_parameters
    if num_parameters >= LARGE_BASE and share >= MAX_TRAINABLE_SHARE:
        raise InvalidRequestError(
            f"The adapter would have {num_trainable:,} parameters, {share:.2%} of the base's "
            f"{num_parameters:,}; on so large a base it has to stay under {MAX_TRAINABLE_SHARE:.0%}. "
            "Train on a larger base, or with a `train.command` that lowers recipe.rank."
        )


def count_parameters(base: Path) -> int:
    """Return how many parameters a base has, from the headers of its safetensors files.

    Raises:
        ConfigurationError: the folder holds no readable safetensors file.
    """
    files = sorted(base.glob("*.safetensors"))
    if not files:
        raise ConfigurationError(
            f"{base} holds no *.safetensors file. Name the folder of a base model in that format."
        )
    return sum(_count_in(file) for file in files)


def _count_in(file: Path) -> int:
    """Count a file's values. Its head: the header's length (8 bytes, little-endian), then JSON."""
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(_HEADER_LENGTH_BYTES), "little")
            header = json.loads(stream.read(min(length, file.stat().st_size)))
        return sum(prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            f"{file} is no safetensors file: {error}. Copy it again."
        ) from error
