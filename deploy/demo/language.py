"""The grammar of help-desk requests: what is meant is drawn first, then one of many ways to say it."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from deploy.demo.phrases import (
    BRANDS,
    COLOURS,
    DAYS,
    INTENTS,
    PEOPLE,
    PRODUCTS,
    TOWNS,
    Intent,
    Product,
)

TONES = ("neutral", "polite", "angry", "chatty", "terse")
URGENCIES = ("low", "normal", "high")
TYPO_SHARE = 0.3
"""Share of the requests whose writer mistypes."""

_OPENINGS = {
    "neutral": ("Hello,", "Hi,", "", "", "Good morning,"),
    "polite": ("Dear team,", "Good day,", "Hello and thank you for your help,", "Dear support,"),
    "angry": ("Listen,", "This is a joke.", "I am really angry.", "What is wrong with you?", ""),
    "chatty": ("Hi there, it is me again,", "Hello from sunny {town},", "Hi, {person} here,"),
    "terse": ("",),
}
_BACKGROUND = {
    "neutral": ("I bought it on {day}.", "My order number is {order}.", "It is a {colour} one."),
    "polite": ("I ordered it on {day} under number {order}.", "I have been a customer for years."),
    "angry": ("This is the third time I write.", "Order {order}, look it up!", "I want it solved!"),
    "chatty": (
        "It was a present for my friend {person}.",
        "My neighbour {person} told me to ask you.",
        "We use it every {day} when the family comes over.",
        "By the way, the {colour} colour is lovely.",
    ),
    "terse": ("Order {order}.",),
}
_URGENCY = {
    "low": ("There is no rush.", "Take your time.", "It can wait until next week."),
    "normal": ("",),
    "high": ("This is urgent.", "I need an answer today.", "Please hurry.", "As soon as possible!"),
}
_CLOSINGS = {
    "neutral": ("Thanks, {person}", "Thanks.", "{person}", ""),
    "polite": ("Kind regards, {person}", "Many thanks in advance.", "With best wishes, {person}"),
    "angry": ("", "I expect an answer.", "{person}"),
    "chatty": ("Cheers, {person}", "Have a nice {day}!", "Greetings from {town}, {person}"),
    "terse": ("",),
}
_LEADS = {
    "polite": (
        "could you please help me:",
        "I would like to tell you that",
        "I am sorry to ask, but",
    ),
    "chatty": ("so the thing is,", "you will not believe it, but", "a quick question:"),
}
_ASKING = ("can ", "do ", "how ", "is ", "was ", "when ", "where ", "which ", "what ", "has ")


@dataclass(frozen=True)
class Request:
    """One customer message with the meaning it was made from."""

    text: str
    product: Product
    intent: Intent
    tone: str
    urgency: str

    @property
    def summary(self) -> str:
        """What the request is about in a few words, e.g. "late delivery of the kettle"."""
        return self.intent.summary.format(thing=self.product.name)


def write_request(
    rng: Random, intents: tuple[Intent, ...] = INTENTS, products: tuple[Product, ...] = PRODUCTS
) -> Request:
    """Draw a meaning from `intents` and `products`, then a tone, an urgency and the words."""
    intent, product = rng.choice(intents), rng.choice(products)
    tone = rng.choice(TONES)
    urgency = "high" if intent.topic == "safety" else rng.choice(URGENCIES)
    text = " ".join(part for part in _sentences(rng, intent, product, tone, urgency) if part)
    if rng.random() < TYPO_SHARE:
        text = mistype(rng, text, keep=product.name)
    return Request(text, product, intent, tone, urgency)


def distinct_requests(
    rng: Random, intents: tuple[Intent, ...] = INTENTS, products: tuple[Product, ...] = PRODUCTS
) -> Iterator[Request]:
    """Endless requests of which no two have the same text."""
    seen: set[str] = set()
    while True:
        request = write_request(rng, intents, products)
        if request.text not in seen:
            seen.add(request.text)
            yield request


def mistype(rng: Random, text: str, keep: str = "") -> str:
    """Swap, drop or double letters in about one word of twelve; the words of `keep` stay whole."""
    return " ".join(
        _mistype_word(rng, word)
        if len(word) > 3 and word not in keep and word.isalpha() and rng.random() < 0.12
        else word
        for word in text.split(" ")
    )


def _sentences(rng: Random, intent: Intent, product: Product, tone: str, urgency: str) -> list[str]:
    slots = _draw_slots(rng, product)
    opening = rng.choice(_OPENINGS[tone]).format(**slots)
    background = rng.choice(_BACKGROUND[tone]).format(**slots) if rng.random() < 0.4 else ""
    core = _core_sentence(rng, intent, tone, slots, follows_comma=opening.endswith(","))
    hurry = rng.choice(_URGENCY[urgency])
    closing = rng.choice(_CLOSINGS[tone]).format(**slots)
    return [opening, core, background, hurry, closing]


def _draw_slots(rng: Random, product: Product) -> dict[str, str]:
    return {
        "product": _noun_phrase(rng, product),
        "day": rng.choice(DAYS),
        "town": rng.choice(TOWNS),
        "person": rng.choice(PEOPLE),
        "colour": rng.choice(COLOURS),
        "number": str(rng.randint(3, 60)),
        "order": str(rng.randint(1000, 9999)),
    }


def _noun_phrase(rng: Random, product: Product) -> str:
    article = rng.choice(("the", "my", "my", "our", "the new"))
    maker = f"{rng.choice(BRANDS)} " if rng.random() < 0.4 else ""
    return f"{article} {maker}{product.name}"


def _core_sentence(
    rng: Random, intent: Intent, tone: str, slots: dict[str, str], follows_comma: bool
) -> str:
    saying = rng.choice(intent.sayings).format(**slots)
    mark = "?" if saying.startswith(_ASKING) else "!" if tone == "angry" else "."
    if tone == "terse":
        return f"{saying}{mark}"
    if tone in _LEADS and rng.random() < 0.3:
        saying = f"{rng.choice(_LEADS[tone])} {saying}"
    return f"{saying if follows_comma else saying[0].upper() + saying[1:]}{mark}"


def _mistype_word(rng: Random, word: str) -> str:
    at = rng.randrange(1, len(word) - 1)
    slips = (
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        word[:at] + word[at + 1 :],
        word[:at] + word[at] + word[at:],
    )
    return rng.choice(slips)
