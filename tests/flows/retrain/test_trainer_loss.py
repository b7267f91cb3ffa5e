"""What the trainer minimises for small bases: the model's own loss, of fewer logits."""

from pathlib import Path

import pytest

from tests.training import make_base

pytestmark = pytest.mark.timeout(600)  # on a cold disk its imports alone take minutes


def test_the_loss_is_the_models_own(tmp_path: Path) -> None:
    """Logits where no row of the batch learns anything are left out, and change nothing."""
    import torch
    from transformers import AutoModelForCausalLM

    from retrain.trainer.rows import IGNORED
    from retrain.trainer.steps import LearntLogitsTrainer

    model = AutoModelForCausalLM.from_pretrained(make_base(tmp_path / "base"))
    ids = torch.randint(0, model.config.vocab_size, (3, 16))
    labels = ids.clone()
    for row, (begin, end) in enumerate([(12, 15), (9, 16), (14, 16)]):
        labels[row, :begin] = labels[row, end:] = IGNORED
    inputs = {"input_ids": ids, "labels": labels}
    loss = LearntLogitsTrainer.compute_loss(None, model, inputs)
    torch.testing.assert_close(loss, model(**inputs).loss)
    halved = LearntLogitsTrainer.compute_loss(None, model, inputs, num_items_in_batch=24)
    torch.testing.assert_close(halved, loss / 2)
