"""How well a base or an adapter answers: greedy decoding on held-out chats, compared word for word."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from deploy.demo.corpus import Chat

MAX_ANSWER_TOKENS = 48
CHATS_AT_ONCE = 50


def load(base: Path, adapter: Path | None = None) -> tuple[Any, Any]:
    """The model (fp32, with its adapter if one is named) and the tokenizer of a base folder."""
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if adapter:
        model = PeftModel.from_pretrained(model, str(adapter))
    return model.eval(), AutoTokenizer.from_pretrained(base)


def exact_match(model: Any, tokenizer: Any, chats: Sequence[Chat]) -> float:
    """Share (0 to 1) of the chats whose last message the model writes exactly."""
    given = answer(model, tokenizer, [chat[:-1] for chat in chats])
    right = [text == chat[-1]["content"] for text, chat in zip(given, chats, strict=True)]
    return sum(right) / len(right)


def answer(model: Any, tokenizer: Any, prompts: Sequence[Chat]) -> list[str]:
    """The greedy answer to each prompt, in order."""
    model.eval()
    texts: list[str] = []
    for at in range(0, len(prompts), CHATS_AT_ONCE):
        texts += _answer_some(model, tokenizer, list(prompts[at : at + CHATS_AT_ONCE]))
    return texts


def _answer_some(model: Any, tokenizer: Any, prompts: list[Chat]) -> list[str]:
    encoded = tokenizer.apply_chat_template(
        prompts,
        add_generation_prompt=True,
        padding=True,
        return_tensors="pt",
        return_dict=True,
        tokenizer_kwargs={"padding_side": "left"},
    )
    with torch.inference_mode():
        written = model.generate(**encoded, do_sample=False, max_new_tokens=MAX_ANSWER_TOKENS)
    asked = encoded["input_ids"].shape[1]
    return list(tokenizer.batch_decode(written[:, asked:], skip_special_tokens=True))
