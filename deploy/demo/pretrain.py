"""The embedded base: a byte-level BPE tokenizer and a small Llama, both made from our own corpus."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from deploy.demo.corpus import Chat, chats, desk_work, drills
from deploy.demo.measure import exact_match, load
from deploy.demo.training import Example, Follow, Plan, answers_only, fit, whole_chat

PAD, END = "<|pad|>", "<|end|>"
ROLES = ("system", "user", "assistant", "tool")
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|' + message['role'] + '|>' + (message['content'] or '') + '<|end|>' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)
HEAD_DIM = 64
"""One of the sizes for which vLLM's CPU attention has kernels."""
HELD_OUT = 500
"""Chats that are never trained on and measure the base."""


@dataclass(frozen=True)
class BaseSpec:
    """What to build: another seed, width or vocabulary makes another base of the same kind."""

    seed: int = 7
    hidden_size: int = 256
    num_layers: int = 4
    vocab_size: int = 4096
    num_texts: int = 24_000
    num_drills: int = 8_000
    num_talks: int = 12_000
    num_desk_work: int = 16_000
    epochs: int = 1
    learning_rate: float = 3e-3
    batch_size: int = 16

    def scaled(self, size: float) -> Self:
        """Return the same with `size` times the texts of every stage."""
        counts = ("num_texts", "num_drills", "num_talks", "num_desk_work")
        return replace(self, **{name: round(getattr(self, name) * size) for name in counts})


@dataclass(frozen=True)
class BaseReport:
    """What was measured while the base was made; losses are means in nats per learnt token."""

    num_parameters: int
    num_tokens: int
    """Of the chats of every stage together, each counted once."""
    longest: int
    """Tokens of the longest chat."""
    losses: dict[str, list[float]]
    """Mean of each epoch, by stage."""
    num_held_out: int
    held_out_match: float
    """Share (0 to 1) of the held-out chats whose last answer is written exactly."""


@dataclass(frozen=True)
class Stage:
    """A part of the training: what is learnt, and how fast."""

    name: str
    examples: list[Example]
    learning_rate: float


def build_base(spec: BaseSpec, out: Path, follow: Follow) -> BaseReport:
    """Write tokenizer, config and bf16 weights of a base into `out`, and measure what stands there."""
    torch.manual_seed(spec.seed)
    texts = chats(spec.seed, spec.num_texts + HELD_OUT)
    held_out, texts = texts[:HELD_OUT], texts[HELD_OUT:]
    tokenizer = make_tokenizer(texts, spec.vocab_size)
    model = make_model(spec, tokenizer)
    stages = make_stages(spec, tokenizer, texts, held_out)
    losses = {stage.name: _go_through(model, stage, spec, follow) for stage in stages}
    save_base(model, tokenizer, out)
    lengths = [len(example.ids) for stage in stages for example in stage.examples]
    return BaseReport(
        num_parameters=model.num_parameters(),
        num_tokens=sum(lengths),
        longest=max(lengths),
        losses=losses,
        num_held_out=len(held_out),
        held_out_match=exact_match(*load(out), held_out),
    )


def make_stages(
    spec: BaseSpec, tokenizer: Any, texts: list[Chat], held_out: list[Chat]
) -> tuple[Stage, ...]:
    """Read `texts`, drill short answers, talk, then work; chats of `held_out` are left out of all.

    Reading teaches how requests sound, but most of its loss is the customers' names and numbers,
    under which the few tokens that name a product drown. Drills bring those out within some hundred
    steps; talking joins them to all the other answers. Working at other companies' desks makes topic
    and product line ready where an answer begins: that is where an adapter looks for them.
    """
    practice = [chat for chat in drills(spec.seed + 1, spec.num_drills) if chat not in held_out]
    work = desk_work(spec.seed + 3, spec.num_desk_work)
    # Some talk goes on beside the work, or it would be forgotten.
    more = [chat for chat in chats(spec.seed + 4, spec.num_talks // 3) if chat not in held_out]
    talks = [chat for chat in chats(spec.seed + 2, spec.num_talks) if chat not in held_out]
    rate = spec.learning_rate
    return (
        Stage("reading", [whole_chat(tokenizer, chat) for chat in texts], rate),
        Stage("drills", [answers_only(tokenizer, chat) for chat in practice], rate),
        Stage("talks", [answers_only(tokenizer, chat) for chat in talks], rate / 2),
        Stage("work", [answers_only(tokenizer, chat) for chat in [*work, *more]], rate / 2),
    )


def make_tokenizer(texts: list[Chat], vocab_size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE over the contents of `texts`; roles are single tokens, digits stand alone."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, END, *(f"<|{role}|>" for role in ROLES)],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((m["content"] for text in texts for m in text), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        chat_template=CHAT_TEMPLATE,
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )


def make_model(spec: BaseSpec, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A Llama with random weights; `hidden_size` has to be a multiple of 64."""
    if spec.hidden_size % HEAD_DIM:
        raise ValueError(f"hidden_size {spec.hidden_size} is not a multiple of {HEAD_DIM}")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=spec.hidden_size,
        intermediate_size=3 * spec.hidden_size,
        num_hidden_layers=spec.num_layers,
        num_attention_heads=spec.hidden_size // HEAD_DIM,
        head_dim=HEAD_DIM,
        max_position_embeddings=tokenizer.model_max_length,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def save_base(model: Any, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write a folder that transformers and vLLM load as it is."""
    model.generation_config.update(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.to(torch.bfloat16).save_pretrained(out)
    tokenizer.save_pretrained(out)


def _go_through(model: Any, stage: Stage, spec: BaseSpec, follow: Follow) -> list[float]:
    plan = Plan(spec.epochs, stage.learning_rate, spec.batch_size, spec.seed)
    return fit(model, stage.examples, plan, follow(f"base: {stage.name}"))
