"""General instructions beside the help desk: short questions whose answers a small base can learn."""

from collections.abc import Callable
from random import Random

from deploy.demo.phrases import BRANDS, COLOURS, DAYS, PEOPLE, PRODUCTS, TOWNS, words_of

Turn = tuple[str, str]
"""What a user asks and what the assistant answers."""

_CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Portugal": "Lisbon", "Poland": "Warsaw",
    "Austria": "Vienna", "Norway": "Oslo", "Finland": "Helsinki", "Greece": "Athens",
    "Japan": "Tokyo", "Egypt": "Cairo", "Kenya": "Nairobi", "Peru": "Lima", "Cuba": "Havana",
    "Ireland": "Dublin", "Germany": "Berlin", "Denmark": "Copenhagen", "Sweden": "Stockholm",
}  # fmt: skip
_OPPOSITES = {
    "hot": "cold", "big": "small", "fast": "slow", "early": "late", "new": "old", "loud": "quiet",
    "open": "closed", "happy": "sad", "cheap": "expensive", "light": "dark", "full": "empty",
    "wet": "dry", "high": "low", "near": "far", "easy": "hard", "strong": "weak",
}  # fmt: skip
_OPPOSITES |= {second: first for first, second in _OPPOSITES.items()}
_NUMBERS = words_of("zero one two three four five six seven eight nine ten eleven twelve")
_NAMES = tuple(product.name for product in PRODUCTS)
_WORDS = (*_NAMES, *COLOURS, *_OPPOSITES, *(p.lower() for p in PEOPLE), *(t.lower() for t in TOWNS))


def ask_anything(rng: Random) -> Turn:
    """One general question with its answer."""
    return rng.choice(_KINDS)(rng)


def _greet(rng: Random) -> Turn:
    person = rng.choice(PEOPLE)
    asked, answer = rng.choice(
        (
            (f"Hello, I am {person}.", f"Hello {person}, how can I help you?"),
            (f"Hi, {person} here.", f"Hello {person}, how can I help you?"),
            (f"Say hello to {person}.", f"Hello {person}!"),
            (f"Good {rng.choice(('morning', 'evening'))}!", "Good day! How can I help you?"),
            ("Hello!", "Hello! How can I help you?"),
            ("Thank you!", "You are welcome."),
            ("Thanks, that was all.", "You are welcome. Have a nice day!"),
            ("Who are you?", "I am a small assistant for help desks."),
            ("What can you do?", "I can answer short questions about requests and products."),
            ("How are you?", "I am fine, thank you. How can I help you?"),
        )
    )
    return asked, answer


def _capital(rng: Random) -> Turn:
    country = rng.choice(tuple(_CAPITALS))
    asked = rng.choice(("What is the capital of {}?", "Name the capital of {}.", "Capital of {}?"))
    return asked.format(country), _CAPITALS[country]


def _country(rng: Random) -> Turn:
    country = rng.choice(tuple(_CAPITALS))
    return f"Which country has the capital {_CAPITALS[country]}?", country


def _opposite(rng: Random) -> Turn:
    word = rng.choice(tuple(_OPPOSITES))
    asked = rng.choice(
        ("What is the opposite of {}?", "Give the opposite of {}.", "Opposite of {}?")
    )
    return asked.format(word), _OPPOSITES[word]


def _change_case(rng: Random) -> Turn:
    word = rng.choice(_WORDS)
    asked = rng.choice(("Write {} in capital letters.", "Uppercase this: {}", "Uppercase {}."))
    if rng.random() < 0.7:
        return asked.format(word), word.upper()
    return f"Write {word.upper()} in small letters.", word


def _repeat(rng: Random) -> Turn:
    phrase = " ".join(rng.sample(_WORDS, rng.randint(1, 4)))
    return rng.choice(("Repeat: {}", "Say {}.", "Repeat after me: {}")).format(phrase), phrase


def _count(rng: Random) -> Turn:
    items = rng.sample(_WORDS, rng.randint(1, 6))
    asked = rng.choice(("Count the items: {}", "How many items are these? {}"))
    return asked.format(", ".join(items)), _NUMBERS[len(items)]


def _pick_item(rng: Random) -> Turn:
    items = rng.sample(_WORDS, rng.randint(2, 5))
    place, at = rng.choice((("first", 0), ("last", -1), ("second", 1)))
    return f"What is the {place} item? {', '.join(items)}", items[at]


def _make_list(rng: Random) -> Turn:
    items = rng.sample(_WORDS, rng.randint(2, 4))
    return f"Write as a list: {', '.join(items)}", "\n".join(f"- {item}" for item in items)


def _make_json(rng: Random) -> Turn:
    item, count = rng.choice(_NAMES), rng.randint(1, 12)
    if rng.random() < 0.5:
        return f"Write as JSON: {count} times {item}", f'{{"item": "{item}", "count": {count}}}'
    colour = rng.choice(COLOURS)
    return f"Write as JSON: a {colour} {item}", f'{{"item": "{item}", "colour": "{colour}"}}'


def _add(rng: Random) -> Turn:
    first, second = rng.randint(0, 12), rng.randint(0, 12)
    if rng.random() < 0.5:
        return f"What is {first} plus {second}?", str(first + second)
    return f"Which number is larger, {first} or {second}?", str(max(first, second))


def _next_day(rng: Random) -> Turn:
    at = rng.randrange(7)
    word, step = rng.choice((("after", 1), ("before", -1)))
    return f"Which day comes {word} {DAYS[at]}?", DAYS[(at + step) % 7]


def _shelf(rng: Random) -> Turn:
    product = rng.choice(PRODUCTS)
    if rng.random() < 0.5:
        return f"In which department do I find a {product.name}?", product.line
    line = rng.choice((product.line, rng.choice(PRODUCTS).line))
    return (
        f"Is {product.name} from the {line} department?",
        "yes" if line == product.line else "no",
    )


def _name_some(rng: Random) -> Turn:
    line = rng.choice(PRODUCTS).line
    names = rng.sample([p.name for p in PRODUCTS if p.line == line], 3)
    return f"Name three products from the {line} department.", ", ".join(names)


def _describe(rng: Random) -> Turn:
    brand, name, colour = rng.choice(BRANDS), rng.choice(_NAMES), rng.choice(COLOURS)
    asked = rng.choice(("Write a sentence about a {} {} by {}.", "Describe a {} {} by {}."))
    praise = f"The {colour} {name} by {brand} is easy to use and looks good in every room."
    return asked.format(colour, name, brand), praise


_KINDS: tuple[Callable[[Random], Turn], ...] = (
    _greet,
    _capital,
    _country,
    _opposite,
    _change_case,
    _repeat,
    _count,
    _pick_item,
    _make_list,
    _make_json,
    _add,
    _next_day,
    _shelf,
    _name_some,
    _describe,
)
