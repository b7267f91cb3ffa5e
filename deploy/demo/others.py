"""Other companies' help desks, each with queue names of its own; none of them is Halden's.

A base that has worked for several companies knows that a desk has queues of its own, which hang on
topic and product line. Which ones a new company has, nobody told it.
"""

from dataclasses import dataclass
from random import Random

from deploy.demo.general import Turn
from deploy.demo.language import Request
from deploy.demo.phrases import LINES, TOPICS, words_of

NUM_SPLIT = 3
"""Topics for which a company has a queue per product line."""

_NAMES = words_of(
    "Amberg Birka Corvin Delmar Eskil Farrow Gildas Hestra Ilmen Jarrow Kestrel Lorne"
)
_LABELS = words_of(
    "Acorn Badge Basil Beacon Birch Bison Cedar Chalk Cliff Clover Cobalt Comet Copper Coral Crane "
    "Dune Eagle Ember Falcon Fjord Flint Garnet Glade Granite Grove Hazel Heron Indigo Iris Ivory "
    "Jade Juniper Lagoon Lantern Larch Lemon Lilac Linen Lotus Lynx Magnet Maple Marble Meadow "
    "Mint Mosaic Nectar Nickel Oasis Olive Onyx Opal Otter Panda Pearl Pebble Pepper Pine Plum "
    "Poppy Prairie Quartz Raven Reef Robin Rowan Ruby Saffron Sage Sierra Slate Sparrow Spruce "
    "Summit Teak Thistle Timber Topaz Trout Tulip Velvet Violet Walnut Willow Yarrow"
)
_ASKED = (
    "You route requests at {name}. Answer with the name of the queue only.",
    "You sort mail at {name}. Answer with the queue only.",
    "You file tickets at {name}. Give the name of the team.",
    "You are the front desk of {name}. Name the queue.",
)


@dataclass(frozen=True)
class Desk:
    """A company's name, and its queue by `topic` or, where it splits, by `topic/line`."""

    name: str
    queues: dict[str, str]

    def queue_of(self, request: Request) -> str:
        """The one right queue for a request."""
        topic = request.intent.topic
        return self.queues.get(f"{topic}/{request.product.line}") or self.queues[topic]


def make_desks(seed: int) -> tuple[Desk, ...]:
    """One desk per company name; another seed gives them other queues."""
    rng = Random(seed)
    return tuple(_make_desk(rng, name) for name in _NAMES)


def ask_queue(rng: Random, desk: Desk, request: Request) -> Turn:
    """Which queue of this desk takes the request."""
    return rng.choice(_ASKED).format(name=desk.name), desk.queue_of(request)


def _make_desk(rng: Random, name: str) -> Desk:
    split = rng.sample(TOPICS, NUM_SPLIT)
    per_line = [f"{topic}/{line}" for topic in split for line in LINES]
    places = [*TOPICS, *per_line]
    return Desk(name, dict(zip(places, rng.sample(_LABELS, len(places)), strict=True)))
