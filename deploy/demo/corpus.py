"""The pre-training texts: chats about requests, and general instructions beside them.

The base learns to read a request (product, topic, tone, urgency) in plain words. It never sees a
company's own labels, so that an adapter has something to learn.
"""

import json
from collections.abc import Callable
from random import Random

from deploy.demo.general import Turn, ask_anything
from deploy.demo.language import Request, write_request
from deploy.demo.phrases import INTENTS, LINES, TOPICS, Product

Chat = list[dict[str, str]]
"""Messages with `role` (system, user, assistant) and `content`."""

GENERAL_SHARE = 0.2
INVENTED_SHARE = 0.15
"""Share of the requests about a product that no shop has: the base must copy, not only know."""

_SYSTEM = (
    "You are a helpful assistant.",
    "You work at a help desk. Answer in few words.",
    "You are a friendly help desk.",
    "Answer questions about the request.",
)
_NOUNS = [
    "wagon",
    "crane",
    "drone",
    "boat",
    "tent",
    "bench",
    "desk",
    "mirror",
    "clock",
    "shelf",
    "bottle",
    "basket",
    "ladder",
]
_SYLLABLES = [
    "ba",
    "ce",
    "do",
    "fi",
    "gu",
    "ka",
    "le",
    "mo",
    "ni",
    "pu",
    "ra",
    "se",
    "to",
    "vi",
    "wu",
    "xa",
    "ye",
    "zo",
    "lin",
    "tar",
    "mel",
    "son",
]


def chats(seed: int, count: int, invented_share: float = INVENTED_SHARE) -> list[Chat]:
    """`count` chats of which no two are alike."""
    rng = Random(seed)
    found: dict[str, Chat] = {}
    while len(found) < count:
        is_general = rng.random() < GENERAL_SHARE
        chat = _general_chat(rng) if is_general else _request_chat(rng, invented_share)
        found.setdefault(json.dumps(chat), chat)
    return list(found.values())


def _general_chat(rng: Random) -> Chat:
    turns = [ask_anything(rng) for _ in range(rng.choice((1, 2, 3, 4)))]
    return _as_chat(turns, rng.choice(_SYSTEM) if rng.random() < 0.3 else "")


def _request_chat(rng: Random, invented_share: float) -> Chat:
    request = _draw_request(rng, invented_share)
    questions = rng.sample(_QUESTIONS, rng.choice((2, 3)))
    (asked, answer), *more = (ask(rng, request) for ask in questions)
    layout = rng.random()
    if layout < 0.5:
        return _as_chat([(request.text, answer), *more], asked)
    if layout < 0.85:
        return _as_chat([(f"{asked}\n\n{request.text}", answer), *more])
    system = rng.choice(_SYSTEM) if rng.random() < 0.7 else ""
    return _as_chat([(request.text, _reply_text(request)), (asked, answer), *more[:1]], system)


def _draw_request(rng: Random, invented_share: float) -> Request:
    if rng.random() < invented_share:
        return write_request(rng, INTENTS, (_invent_product(rng),))
    return write_request(rng)


def _invent_product(rng: Random) -> Product:
    maker = "".join(rng.sample(_SYLLABLES, rng.randint(2, 3)))
    return Product(f"{maker.capitalize()} {rng.choice(_NOUNS)}", "other")


def _as_chat(turns: list[Turn], system: str = "") -> Chat:
    head = [{"role": "system", "content": system}] if system else []
    return head + [
        {"role": role, "content": content}
        for turn in turns
        for role, content in zip(("user", "assistant"), turn, strict=True)
    ]


def _ask_product(rng: Random, request: Request) -> Turn:
    asked = ("Which product is this about?", "Name the product.", "Extract the product.")
    return rng.choice(asked), request.product.name


def _ask_summary(rng: Random, request: Request) -> Turn:
    asked = ("Summarise the request in a few words.", "What does the customer want?", "Summarise.")
    return rng.choice(asked), request.summary


def _ask_topic(rng: Random, request: Request) -> Turn:
    others = [topic for topic in TOPICS if topic != request.intent.topic]
    choices = [request.intent.topic, *rng.sample(others, rng.randint(1, 3))]
    rng.shuffle(choices)
    asked = rng.choice(("Which topic fits best: {}?", "Choose one: {}.", "What is it about: {}?"))
    return asked.format(", ".join(choices)), request.intent.topic


def _ask_free_topic(rng: Random, request: Request) -> Turn:
    asked = ("Name the topic.", "Which topic is it?", "Give the topic of the request in a word.")
    return rng.choice(asked), request.intent.topic


def _ask_whether_topic(rng: Random, request: Request) -> Turn:
    topic = rng.choice((request.intent.topic, rng.choice(TOPICS)))
    asked = rng.choice(("Is it about {}?", "Is the topic {}? Answer yes or no."))
    return asked.format(topic), _yes_or_no(topic == request.intent.topic)


def _ask_whether_angry(rng: Random, request: Request) -> Turn:
    asked = ("Is the customer angry?", "Does the customer sound angry? Answer yes or no.")
    return rng.choice(asked), _yes_or_no(request.tone == "angry")


def _ask_urgency(rng: Random, request: Request) -> Turn:
    asked = ("How urgent is it?", "How urgent is it: low, normal or high?", "Give the urgency.")
    return rng.choice(asked), request.urgency


def _ask_department(rng: Random, request: Request) -> Turn:
    departments = ", ".join(rng.sample([*LINES, "other"], 5))
    asked = ("Which department sells it?", f"Choose the department: {departments}.")
    return rng.choice(asked), request.product.line


def _ask_rewrite(rng: Random, request: Request) -> Turn:
    asked = ("Rewrite the request politely.", "Write it in a polite way.")
    summary = request.summary
    return rng.choice(
        asked
    ), f"Dear team, could you please help me? It is about: {summary}. Thanks."


def _ask_json(rng: Random, request: Request) -> Turn:
    item = {"item": request.product.name, "department": request.product.line, "mood": request.tone}
    keys = rng.sample(list(item), rng.randint(1, 3))
    asked = f"Give {', '.join(keys)} as JSON."
    return asked, json.dumps({key: item[key] for key in keys})


def _ask_reply(rng: Random, request: Request) -> Turn:
    asked = ("Write a reply to the customer.", "Answer the customer.", "Reply to the request.")
    return rng.choice(asked), _reply_text(request)


def _reply_text(request: Request) -> str:
    sorry = "We are sorry for the trouble. " if request.tone == "angry" else ""
    when = {"low": "this week", "normal": "tomorrow", "high": "today"}[request.urgency]
    about = f"Thank you for your message about the {request.product.name}."
    return f"{sorry}{about} We will {request.intent.action} and write to you {when}."


def _yes_or_no(is_so: bool) -> str:
    return "yes" if is_so else "no"


_QUESTIONS: tuple[Callable[[Random, Request], Turn], ...] = (
    _ask_product,
    _ask_summary,
    _ask_topic,
    _ask_free_topic,
    _ask_whether_topic,
    _ask_whether_angry,
    _ask_urgency,
    _ask_department,
    _ask_rewrite,
    _ask_json,
    _ask_reply,
)
