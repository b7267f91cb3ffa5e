"""Curves as text: a grid of braille characters, two dots wide and four dots high each. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

Line = Sequence[tuple[float, float]]
"""(x, y) in [0, 1], left to right and bottom to top."""
Cell = tuple[str, str]
"""A character and its style."""

_EMPTY = 0x2800
# Unicode's order of the dots: the fourth row was added later. Indexed [column][row from the top].
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))


@dataclass(frozen=True, slots=True)
class Stroke:
    """A line and the style of its dots; of strokes that meet in a character the later one wins."""

    line: Line
    style: str


def draw(strokes: Sequence[Stroke], width: int, height: int) -> list[list[Cell]]:
    """Return `height` rows of `width` cells with the strokes in them."""
    bits = [[_EMPTY] * width for _ in range(height)]
    styles = [[""] * width for _ in range(height)]
    for stroke in strokes:
        for x, y in _dots_of(stroke.line, 2 * width, 4 * height):
            bits[y // 4][x // 2] |= _DOTS[x % 2][y % 4]
            styles[y // 4][x // 2] = stroke.style
    return [
        [(chr(bit), style) for bit, style in zip(*row, strict=True)]
        for row in zip(bits, styles, strict=True)
    ]


def _dots_of(line: Line, width: int, height: int) -> list[tuple[int, int]]:
    """Return the dots of a line: every column between two points has one, at least."""
    corners = [
        (round(x * (width - 1)), round((1 - y) * (height - 1)))
        for x, y in line
        if 0 <= x <= 1 and 0 <= y <= 1
    ]
    dots = corners[:1]
    for (x0, y0), (x1, y1) in pairwise(corners):
        steps = max(abs(x1 - x0), abs(y1 - y0), 1)
        dots += [
            (x0 + round(step * (x1 - x0) / steps), y0 + round(step * (y1 - y0) / steps))
            for step in range(1, steps + 1)
        ]
    return dots
