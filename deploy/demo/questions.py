"""What can be asked about a request; every function returns a question and its one right answer."""

import json
from collections.abc import Callable
from random import Random

from deploy.demo.general import Turn
from deploy.demo.language import Request
from deploy.demo.phrases import BRANDS, LINES, TOPICS


def ask_product(rng: Random, request: Request) -> Turn:
    """Which product, word for word."""
    asked = ("Which product is this about?", "Name the product.", "Extract the product.")
    return rng.choice(asked), request.product.name


def ask_summary(rng: Random, request: Request) -> Turn:
    """What it is about, in a few words."""
    asked = ("Summarise the request in a few words.", "What does the customer want?", "Summarise.")
    return rng.choice(asked), request.summary


def ask_topic(rng: Random, request: Request) -> Turn:
    """Which of a few topics."""
    others = [topic for topic in TOPICS if topic != request.intent.topic]
    choices = [request.intent.topic, *rng.sample(others, rng.randint(1, 3))]
    rng.shuffle(choices)
    asked = rng.choice(("Which topic fits best: {}?", "Choose one: {}.", "What is it about: {}?"))
    return asked.format(", ".join(choices)), request.intent.topic


def ask_free_topic(rng: Random, request: Request) -> Turn:
    """Which topic, with no choice given."""
    asked = ("Name the topic.", "Which topic is it?", "Give the topic of the request in a word.")
    return rng.choice(asked), request.intent.topic


def ask_whether_topic(rng: Random, request: Request) -> Turn:
    """Whether it is about a topic."""
    topic = rng.choice((request.intent.topic, rng.choice(TOPICS)))
    asked = rng.choice(("Is it about {}?", "Is the topic {}? Answer yes or no."))
    return asked.format(topic), _yes_or_no(topic == request.intent.topic)


def ask_whether_angry(rng: Random, request: Request) -> Turn:
    """Whether the customer is angry."""
    asked = ("Is the customer angry?", "Does the customer sound angry? Answer yes or no.")
    return rng.choice(asked), _yes_or_no(request.tone == "angry")


def ask_urgency(rng: Random, request: Request) -> Turn:
    """How urgent it is."""
    asked = ("How urgent is it?", "How urgent is it: low, normal or high?", "Give the urgency.")
    return rng.choice(asked), request.urgency


def ask_department(rng: Random, request: Request) -> Turn:
    """On which shelf the product stands."""
    departments = ", ".join(rng.sample([*LINES, "other"], 5))
    asked = ("Which department sells it?", f"Choose the department: {departments}.")
    return rng.choice(asked), request.product.line


def ask_rewrite(rng: Random, request: Request) -> Turn:
    """The same wish, politely."""
    asked = ("Rewrite the request politely.", "Write it in a polite way.")
    summary = request.summary
    return rng.choice(
        asked
    ), f"Dear team, could you please help me? It is about: {summary}. Thanks."


def ask_json(rng: Random, request: Request) -> Turn:
    """Some of product, department and mood as JSON."""
    item = {"item": request.product.name, "department": request.product.line, "mood": request.tone}
    keys = rng.sample(list(item), rng.randint(1, 3))
    asked = f"Give {', '.join(keys)} as JSON."
    return asked, json.dumps({key: item[key] for key in keys})


def ask_reply(rng: Random, request: Request) -> Turn:
    """What the help desk writes back."""
    asked = ("Write a reply to the customer.", "Answer the customer.", "Reply to the request.")
    return rng.choice(asked), reply_text(request)


def reply_text(request: Request) -> str:
    """The help desk's reply: tone, product, action and a day."""
    sorry = "We are sorry for the trouble. " if request.tone == "angry" else ""
    when = {"low": "this week", "normal": "tomorrow", "high": "today"}[request.urgency]
    about = f"Thank you for your message about the {request.product.name}."
    return f"{sorry}{about} We will {request.intent.action} and write to you {when}."


def ask_to_sort(rng: Random, request: Request) -> Turn:
    """Topic or department under a prompt such as companies write, with the answer in plain words."""
    verb, brand = rng.choice(("sort", "route", "file", "assign")), rng.choice(BRANDS)
    noun, answer = rng.choice(
        (
            ("topic", request.intent.topic),
            ("topic", request.intent.topic),
            ("department", request.product.line),
        )
    )
    asked = (
        f"You {verb} requests at {brand}. Answer with the name of the {noun} only.",
        f"You {verb} mail at {brand}. Answer with the {noun} only.",
        f"You are the {noun} desk of {brand}. Name the {noun}.",
    )
    return rng.choice(asked), answer


def _yes_or_no(is_so: bool) -> str:
    return "yes" if is_so else "no"


QUESTIONS: tuple[Callable[[Random, Request], Turn], ...] = (
    ask_product,
    ask_summary,
    ask_topic,
    ask_free_topic,
    ask_whether_topic,
    ask_whether_angry,
    ask_urgency,
    ask_department,
    ask_rewrite,
    ask_json,
    ask_reply,
)

DRILLS = (ask_product, ask_department, ask_to_sort)
"""Answers of few tokens to practise alone: the product drowns when longer answers stand beside it."""
