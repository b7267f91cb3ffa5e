"""A company's own ways: queue names that the base has never seen, and the day they change.

Halden routes every request to one of sixteen queues by what it is about; faults go to the bench of
the product line. Later Halden renames two queues and launches a product with a queue of its own.
"""

import json
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from deploy.demo.language import Request, distinct_requests
from deploy.demo.phrases import INTENTS, Product

Row = dict[str, Any]
"""One import row: `{"messages": [system, user, assistant], "slice": product line}`."""

ROUTING_PROMPT = "You route requests at Halden. Answer with the name of the queue only."
EXTRACTION_PROMPT = "You file requests at Halden. Answer with the ticket as JSON only."
PRIORITIES = {"low": "P3", "normal": "P2", "high": "P1"}


@dataclass(frozen=True)
class Company:
    """Which queue takes what: by launched product first, then `topic/line`, then topic."""

    queues: dict[str, str]
    launched: dict[Product, str]
    launch_share: float = 0.0
    """Share of the traffic that is about a launched product."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Every queue name once, in a stable order."""
        return tuple(dict.fromkeys((*self.queues.values(), *self.launched.values())))


BEFORE = Company(
    queues={
        "delivery": "Harbor",
        "parcel content": "Crate",
        "order": "Pivot",
        "payment": "Ledger",
        "invoice": "Quill",
        "return": "Boomer",
        "price": "Ledger",
        "fault/kitchen": "Kiln",
        "fault/garden": "Fern",
        "fault/audio": "Echo",
        "fault/home": "Nest",
        "repair": "Anvil",
        "app": "Orbit",
        "account": "Vault",
        "advice": "Mentor",
        "safety": "Redline",
        "opinion": "Gazette",
    },
    launched={},
)
RENAMED = {"delivery": "Tide", "order": "Delta"}
LAUNCHED = {Product("Orla scooter", "mobility"): "Zephyr"}
AFTER = replace(BEFORE, queues={**BEFORE.queues, **RENAMED}, launched=LAUNCHED, launch_share=0.15)


def queue_of(request: Request, company: Company) -> str:
    """The one right queue for a request."""
    if request.product in company.launched:
        return company.launched[request.product]
    topic = request.intent.topic
    return company.queues.get(f"{topic}/{request.product.line}") or company.queues[topic]


def routing_rows(company: Company, seed: int, count: int) -> list[Row]:
    """`count` distinct requests with their queue; another seed gives other traffic."""
    return [
        _row(ROUTING_PROMPT, request, queue_of(request, company))
        for request in traffic(company, seed, count)
    ]


def extraction_rows(company: Company, seed: int, count: int) -> list[Row]:
    """The second task: the same traffic, answered with Halden's ticket as one line of JSON."""
    return [
        _row(EXTRACTION_PROMPT, request, json.dumps(ticket_of(request)))
        for request in traffic(company, seed, count)
    ]


def ticket_of(request: Request) -> dict[str, str]:
    """Halden's ticket: the product, its priority code and the topic."""
    return {
        "product": request.product.name,
        "prio": PRIORITIES[request.urgency],
        "about": request.intent.topic,
    }


def traffic(company: Company, seed: int, count: int) -> list[Request]:
    """`count` distinct requests as they come in; another seed gives others."""
    rng = Random(seed)
    known = distinct_requests(rng)
    new = distinct_requests(rng, INTENTS, tuple(company.launched))
    return [next(new) if rng.random() < company.launch_share else next(known) for _ in range(count)]


def _row(system: str, request: Request, answer: str) -> Row:
    return {
        "messages": [
            {"role": "system", "content": system},
            {"role": "user", "content": request.text},
            {"role": "assistant", "content": answer},
        ],
        "slice": request.product.line,
    }
