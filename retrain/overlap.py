"""Overlap: which rows an evaluation set holds already, whole or in long passages."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from retrain.examples import Example

_NOT_A_WORD = re.compile(r"[^\w\s]+")
_SPACES = re.compile(r"\s+")

LONG_NGRAM = 13  # words; Brown et al. 2020, "Language Models are Few-Shot Learners", appendix C
SHORT_NGRAM = 8  # a short item with one word changed in its middle holds no 13 in a row
SHORT_ITEM = 20  # words


class OverlapIndex:
    """Knows the prompts of an evaluation set, whole and by their word n-grams."""

    def __init__(self, evaluation: Iterable[Example]) -> None:
        self._prompts = {normalise(example.prompt_text) for example in evaluation}
        seen = Counter(ngram for prompt in self._prompts for ngram in ngrams(prompt))
        # An n-gram of several items is boilerplate (an instruction, a greeting), not contamination.
        self._ngrams = {
            ngram
            for prompt in self._prompts
            for ngram in ngrams(prompt, (_size(prompt),))
            if seen[ngram] == 1
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


def _size(prompt: str) -> int:
    return SHORT_NGRAM if len(prompt.split()) < SHORT_ITEM else LONG_NGRAM
