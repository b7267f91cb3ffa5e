"""The training, step by step: SFT of a LoRA adapter with TRL and PEFT."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    EarlyStoppingCallback,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
)
from trl import SFTConfig, SFTTrainer

from retrain.recipe import Recipe, check_share
from retrain.spec import Limits, TrainingSpec
from retrain.trainer.checkpoints import newest_checkpoint
from retrain.trainer.rows import IGNORED, TokenizedRows, read_rows, training_set, validation_set
from retrain.trainer.watch import Watch
from serving.publish import publish


def train(spec: TrainingSpec) -> None:
    """Train the adapter of `spec` and leave its folder whole, going on from a checkpoint if any.

    Raises:
        InvalidRequestError: no row can be learnt from, the adapter would be too large a part of
            its base, or the loss is no longer a number.
    """
    if Path(spec.adapter_dir).exists():
        return
    limit_card(spec.limits)
    tokenizer = AutoTokenizer.from_pretrained(spec.base_model)
    rows = read_rows(Path(spec.train_file), tokenizer, spec.recipe.max_length)
    valid = read_rows(Path(spec.valid_file), tokenizer, spec.recipe.max_length)
    watch = Watch(Path(spec.progress_file), spec.recipe)
    checkpoints = Path(spec.checkpoint_dir) / spec.content_hash
    trainer = make_trainer(spec, load_base(spec), tokenizer, rows, valid, checkpoints)
    trainer.add_callback(watch)
    watch.tell(**trainable_share(trainer.model), message=describe(rows))
    checkpoint = newest_checkpoint(checkpoints)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    save_adapter(trainer.model, Path(spec.adapter_dir), spec.base_name)
    shutil.rmtree(spec.checkpoint_dir)


def limit_card(limits: Limits) -> None:
    """Leave the rest of the card to the engine that shares it."""
    if limits.gpu_memory_bytes is not None and torch.cuda.is_available():
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, limits.gpu_memory_bytes / total))


def load_base(spec: TrainingSpec) -> PreTrainedModel:
    """Load the base: whole precision where memory is no concern, else bfloat16."""
    dtype = torch.bfloat16 if spec.recipe.saves_memory else torch.float32
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(spec.base_model, dtype=dtype)
    model.config.use_cache = False
    return model


def make_trainer(
    spec: TrainingSpec,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: TokenizedRows,
    valid: TokenizedRows,
    checkpoints: Path,
) -> SFTTrainer:
    """Put base, new adapter, rows and recipe together."""
    recipe = spec.recipe
    make = SFTTrainer if recipe.saves_memory else LearntLogitsTrainer
    trainer = make(
        model=model,
        args=_arguments(recipe, len(rows.rows), checkpoints),
        processing_class=tokenizer,
        train_dataset=training_set(rows.rows, recipe.batch_size, recipe.num_epochs, recipe.seed),
        eval_dataset=validation_set(valid.rows, recipe.max_valid_examples),
        peft_config=LoraConfig(
            task_type="CAUSAL_LM",
            r=recipe.rank,
            lora_alpha=recipe.alpha,
            lora_dropout=recipe.dropout,
            target_modules="all-linear",
        ),
        callbacks=[EarlyStoppingCallback(recipe.patience)],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


class LearntLogitsTrainer(SFTTrainer):
    """SFT for small bases: one loss over the logits of what is learnt, and no token metrics.

    TRL computes log-probabilities, entropy and accuracy in chunks of Python, which saves memory
    that a small base does not need and takes a quarter of each of its steps. Of a small base the
    logits are a fifth of the work, and an answer is some tokens at the end of a long prompt.
    """

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the mean loss of learnt tokens, in nats: of all micro-batches of a step together."""
        assert not return_outputs, "predictions are not asked for: prediction_loss_only"
        labels = inputs["labels"]
        # The logits before a token say how likely it is.
        before = (labels[:, 1:] != IGNORED).any(dim=0).nonzero()[:, 0]
        # Padding stands on the right, where causal attention never looks: no mask, which is faster.
        logits = model(input_ids=inputs["input_ids"], logits_to_keep=before).logits
        total = cross_entropy(
            logits.flatten(0, 1).float(),
            labels[:, before + 1].flatten(),
            ignore_index=IGNORED,
            reduction="sum",
        )
        num_learnt = (labels[:, 1:] != IGNORED).sum()
        return total / (num_learnt if num_items_in_batch is None else num_items_in_batch)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write none: TRL would, with every checkpoint."""


def trainable_share(model: Any) -> dict[str, int]:
    """Return the sizes of adapter and base.

    Raises:
        InvalidRequestError: the adapter is too large a part of a large base.
    """
    trainable, everything = model.get_nb_trainable_parameters()
    base = everything - trainable
    check_share(trainable, base)
    return {"num_trainable": trainable, "num_parameters": base}


def describe(rows: TokenizedRows) -> str:
    """Return in words what of the file is learnt from."""
    return (
        f"{len(rows.rows)} rows; {rows.num_cut} cut, for they are too long, "
        f"{rows.num_dropped} of them without an answer left and dropped."
    )


def save_adapter(model: Any, folder: Path, base_name: str) -> None:
    """Write a PEFT folder: configuration and weights, nothing else. It appears whole or not at all."""
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    weights = get_peft_model_state_dict(model, save_embedding_layers=False)
    weights = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    save_file(weights, draft / "adapter_model.safetensors", metadata={"format": "pt"})
    config = model.peft_config["default"].to_dict()
    config |= {"base_model_name_or_path": base_name, "inference_mode": True}
    text = json.dumps(config, indent=2, sort_keys=True, default=sorted)  # sets, the same each time
    (draft / "adapter_config.json").write_text(text + "\n")
    publish(draft, folder)


def _arguments(recipe: Recipe, num_examples: int, checkpoints: Path) -> SFTConfig:
    interval = recipe.steps_per_evaluation(num_examples)
    return SFTConfig(
        output_dir=str(checkpoints),
        seed=recipe.seed,
        # All epochs stand one after the other in the training set.
        num_train_epochs=1,
        train_sampling_strategy="sequential",
        per_device_train_batch_size=recipe.micro_batch_size,
        per_device_eval_batch_size=recipe.micro_batch_size,
        gradient_accumulation_steps=recipe.batch_size // recipe.micro_batch_size,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        warmup_steps=recipe.warmup_share,
        lr_scheduler_type="cosine",
        max_grad_norm=recipe.max_grad_norm,
        gradient_checkpointing=recipe.saves_memory,
        bf16=recipe.saves_memory,
        # Said outright, or transformers refuses bfloat16 where there is no card.
        use_cpu=not torch.cuda.is_available(),
        dataset_kwargs={"skip_prepare_dataset": True},
        # The first step of every new length is several times slower: have few lengths.
        pad_to_multiple_of=16,
        dataloader_pin_memory=torch.cuda.is_available(),
        eval_strategy="steps",
        eval_steps=interval,
        save_steps=interval,
        save_total_limit=None,  # `Watch` keeps the newest and the best
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        prediction_loss_only=True,
        restore_callback_states_from_checkpoint=True,
        # On a CPU reading the loss is free; on a card it waits for the card.
        logging_steps=5 if recipe.saves_memory else 1,
        logging_nan_inf_filter=False,
        include_num_input_tokens_seen="non_padding",
        disable_tqdm=True,
        report_to="none",
    )
