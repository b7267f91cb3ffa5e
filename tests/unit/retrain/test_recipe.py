"""Recipes: what is trained how, by the size of the base."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.recipe import (
    LARGE_BASE,
    SMALL_BASE,
    Recipe,
    check_share,
    count_parameters,
    default_recipe,
)
from retrain.trainer.order import training_order
from serving.errors import ConfigurationError, InvalidRequestError
from tests.training import HIDDEN, INNER, LAYERS, SPECIAL, make_base


def test_a_small_base_learns_fast_and_a_large_one_carefully() -> None:
    """Under 100 M parameters: ten times the learning rate, more epochs, no dropout."""
    small, large = default_recipe(SMALL_BASE - 1), default_recipe(SMALL_BASE)
    assert (small.learning_rate, small.num_epochs, small.dropout) == (2e-3, 6, 0.0)
    assert (large.learning_rate, large.num_epochs, large.dropout) == (2e-4, 3, 0.05)
    assert (small.batch_size, large.batch_size) == (32, 16)
    assert large.saves_memory
    assert not small.saves_memory
    assert small.rank == large.rank == 16
    assert small.alpha == large.alpha == 32


def test_parameters_are_counted_from_the_headers(tmp_path: Path) -> None:
    """Every value of every tensor, without torch; tied embeddings stand in the file once."""
    attention, perceptron = 4 * HIDDEN * HIDDEN, 3 * HIDDEN * INNER
    expected = (
        (len(SPECIAL) + 256) * HIDDEN + LAYERS * (attention + perceptron + 2 * HIDDEN) + HIDDEN
    )
    assert count_parameters(make_base(tmp_path / "base")) == expected


def test_a_folder_without_readable_weights_is_refused(tmp_path: Path) -> None:
    """The error names the folder or the file that is at fault."""
    with pytest.raises(ConfigurationError, match="holds no"):
        count_parameters(tmp_path)
    for content in (b"no safetensors at all", b"", b"\xff" * 64, b'\x02\0\0\0\0\0\0\0"]'):
        (tmp_path / "model.safetensors").write_bytes(content)
        with pytest.raises(ConfigurationError, match=r"model\.safetensors"):
            count_parameters(tmp_path)


@pytest.mark.parametrize(
    ("num_trainable", "num_parameters"),
    [(2_000_000, 4_000_000), (9_999_999, LARGE_BASE), (99_999_999, LARGE_BASE - 1)],
)
def test_an_adapter_is_a_small_part_of_a_large_base(
    num_trainable: int, num_parameters: int
) -> None:
    """Under 1 % from a billion parameters on; below, a base is so small that it is no matter."""
    check_share(num_trainable, num_parameters)


def test_an_adapter_that_is_a_large_part_of_a_large_base_is_refused() -> None:
    """The error has both sizes, the share, and what to change."""
    with pytest.raises(InvalidRequestError, match=r"10,000,000 .* 1\.00% .* recipe\.rank"):
        check_share(10_000_000, LARGE_BASE)


@pytest.mark.parametrize(
    "fields", [{"rank": 0}, {"num_epochs": 0}, {"batch_size": 16, "micro_batch_size": 3}]
)
def test_impossible_sizes_are_refused(fields: dict[str, int]) -> None:
    """Also when they stand in a file."""
    with pytest.raises(ValueError, match="micro_batch_size"):
        Recipe(**fields)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(fields), type=Recipe)


def test_evaluations_are_spread_over_the_training() -> None:
    """1,500 rows by the small recipe: 282 steps, a look at validation loss twice an epoch."""
    recipe = default_recipe(5_000_000)
    assert recipe.num_steps(1500) == 282
    assert recipe.steps_per_evaluation(1500) == 23
    assert recipe.steps_per_evaluation(1) == 1


@given(
    st.lists(st.integers(1, 100), min_size=1, max_size=200),
    st.integers(1, 8),
    st.integers(1, 3),
    st.integers(0, 3),
)
def test_training_sees_every_row_in_every_epoch(
    lengths: list[int], batch_size: int, num_epochs: int, seed: int
) -> None:
    """No row is lost or favoured, and the same seed gives the same order."""
    order = training_order(lengths, batch_size, num_epochs, seed)
    assert sorted(order) == sorted([*range(len(lengths))] * num_epochs)
    assert order == training_order(lengths, batch_size, num_epochs, seed)


def test_rows_of_like_length_are_batched_together() -> None:
    """Sorted within pools of 50 batches, so padding is small; the batches come in random order."""
    lengths = [row % 97 for row in range(800)]
    order = training_order(lengths, 16, 1, seed=0)
    batches = [order[at : at + 16] for at in range(0, 800, 16)]
    spreads = [max(lengths[row] for row in b) - min(lengths[row] for row in b) for b in batches]
    assert max(spreads) <= 4
    shortest = [lengths[batch[0]] for batch in batches]
    assert shortest != sorted(shortest)
