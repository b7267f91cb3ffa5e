"""The pre-training texts: chats about requests, and general instructions beside them.

The base learns to read a request (product, topic, tone, urgency) in plain words, and works the desks
of other companies. It never sees Halden's labels, so that an adapter has something to learn.
"""

import json
from collections.abc import Callable, Sequence
from random import Random

from deploy.demo.general import Turn, ask_anything
from deploy.demo.language import Request, write_request
from deploy.demo.others import Desk, ask_queue, make_desks
from deploy.demo.phrases import INTENTS, Product, words_of
from deploy.demo.questions import DRILLS, QUESTIONS, reply_text

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
_NOUNS = words_of("wagon crane drone boat tent bench desk mirror clock shelf bottle basket ladder")
_SYLLABLES = words_of("ba ce do fi gu ka le mo ni pu ra se to vi wu xa ye zo lin tar mel son")


def chats(seed: int, count: int) -> list[Chat]:
    """`count` chats of some turns each, of which no two are alike."""
    return _draw_distinct(Random(seed), count, _draw_chat)


def drills(seed: int, count: int) -> list[Chat]:
    """`count` chats of one question each, about what is hardest to see in a request."""
    return _draw_distinct(Random(seed), count, _draw_drill)


def desk_work(seed: int, count: int) -> list[Chat]:
    """`count` chats of one question each: which queue of another company takes the request."""
    rng = Random(seed)
    desks = make_desks(rng.getrandbits(32))
    return _draw_distinct(rng, count, lambda rng: _draw_desk_work(rng, desks))


def _draw_distinct(rng: Random, count: int, draw: Callable[[Random], Chat]) -> list[Chat]:
    found: dict[str, Chat] = {}
    while len(found) < count:
        chat = draw(rng)
        found.setdefault(json.dumps(chat), chat)
    return list(found.values())


def _draw_chat(rng: Random) -> Chat:
    return _general_chat(rng) if rng.random() < GENERAL_SHARE else _request_chat(rng)


def _draw_drill(rng: Random) -> Chat:
    request = write_request(rng)
    asked, answer = rng.choice(DRILLS)(rng, request)
    if rng.random() < 0.6:
        return _as_chat([(request.text, answer)], asked)
    return _as_chat([(f"{asked}\n\n{request.text}", answer)])


def _draw_desk_work(rng: Random, desks: Sequence[Desk]) -> Chat:
    request = write_request(rng)
    asked, answer = ask_queue(rng, rng.choice(desks), request)
    return _as_chat([(request.text, answer)], asked)


def _general_chat(rng: Random) -> Chat:
    turns = [ask_anything(rng) for _ in range(rng.choice((1, 2, 3, 4)))]
    return _as_chat(turns, rng.choice(_SYSTEM) if rng.random() < 0.3 else "")


def _request_chat(rng: Random) -> Chat:
    request = _draw_request(rng)
    questions = rng.sample(QUESTIONS, rng.choice((2, 3)))
    (asked, answer), *more = (ask(rng, request) for ask in questions)
    layout = rng.random()
    if layout < 0.5:
        return _as_chat([(request.text, answer), *more], asked)
    if layout < 0.85:
        return _as_chat([(f"{asked}\n\n{request.text}", answer), *more])
    system = rng.choice(_SYSTEM) if rng.random() < 0.7 else ""
    return _as_chat([(request.text, reply_text(request)), (asked, answer), *more[:1]], system)


def _draw_request(rng: Random) -> Request:
    if rng.random() < INVENTED_SHARE:
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
