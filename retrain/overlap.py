"""Overlap: which rows evaluation sets hold already, whole or in long passages."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from itertools import groupby, pairwise
from operator import itemgetter

from retrain.examples import Example

_NOT_A_WORD = re.compile(r"[^\w\s]+")
_SPACES = re.compile(r"\s+")

LONG_NGRAM = 13  # words; Brown et al. 2020, "Language Models are Few-Shot Learners", appendix C
SHORT_NGRAM = 8  # a short item with one word changed in its middle holds no 13 in a row
SHORT_ITEM = 20  # words


class OverlapIndex:
    """Knows the prompts of evaluation sets, whole and by their word n-grams."""

    def __init__(self, sets: Iterable[Iterable[Example]]) -> None:
        """`sets`: the items of each; what repeats from one revision to the next is an item's own."""
        prompts = [{normalise(example.prompt_text) for example in items} for items in sets]
        self._prompts = set[str]().union(*prompts)
        shared = set[str]().union(*map(shared_ngrams, prompts))
        self._ngrams = {
            ngram
            for prompt in self._prompts
            for passage in own_passages(prompt, shared)
            for ngram in ngrams(passage, (_size(prompt),))
        }

    def holds(self, example: Example) -> bool:
        """Whether the example's prompt is an evaluation prompt, or shares an n-gram with one."""
        prompt = normalise(example.prompt_text)
        return prompt in self._prompts or not self._ngrams.isdisjoint(ngrams(prompt))


def normalise(text: str) -> str:
    """Return the text as overlap sees it: NFKC, lower case, no punctuation, single spaces."""
    folded = unicodedata.normalize("NFKC", text).lower()
    return _SPACES.sub(" ", _NOT_A_WORD.sub(" ", folded)).strip()


def ngrams(text: str, sizes: Sequence[int] = (SHORT_NGRAM, LONG_NGRAM)) -> set[str]:
    """Return the word n-grams of a normalised text."""
    words = text.split()
    return {
        " ".join(words[at : at + size]) for size in sizes for at in range(len(words) - size + 1)
    }


def shared_ngrams(prompts: Set[str]) -> set[str]:
    """Return the n-grams that several prompts of a set hold; turns of one conversation are one."""
    # In this order a prompt comes right before those that go on from it.
    ordered = pairwise([*sorted(prompts), ""])
    whole = [prompt for prompt, following in ordered if not following.startswith(f"{prompt} ")]
    seen = Counter(ngram for prompt in whole for ngram in ngrams(prompt))
    return {ngram for ngram, count in seen.items() if count > 1}


def own_passages(text: str, shared: Set[str]) -> list[str]:
    """Return a normalised text's passages outside n-grams that several items share.

    What they share is boilerplate (an instruction, a greeting), not contamination; and so is an
    n-gram that reaches out of it by a word or two.
    """
    words = text.split()
    is_own = [True] * len(words)
    for size in (SHORT_NGRAM, LONG_NGRAM):
        for at in range(len(words) - size + 1):
            if " ".join(words[at : at + size]) in shared:
                is_own[at : at + size] = [False] * size
    runs = groupby(zip(is_own, words, strict=True), key=itemgetter(0))
    return [" ".join(word for _, word in run) for own, run in runs if own]


def _size(prompt: str) -> int:
    return SHORT_NGRAM if len(prompt.split()) < SHORT_ITEM else LONG_NGRAM
