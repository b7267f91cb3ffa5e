"""The recorded picture: the two curves of a whole run as one SVG, for README."""

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from xml.sax.saxutils import escape

from deploy.demo.record import Event, Point, Record, percent, table_rows
from deploy.demo.story import MAX_DOWN_SHARE

_WIDTH, _HEIGHT = 960, 470
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 20, 64, 340
_RIGHT_COLOUR, _DOWN_COLOUR, _INK, _FAINT = "#1a7f37", "#cf222e", "#1f2328", "#d0d7de"
_BANDS = {1: ("#f6f8fa", "base"), 2: ("#ddf4ff", "v1"), 3: ("#dafbe1", "v2")}
_FONT = 'font-family="system-ui, sans-serif"'


def draw_picture(record: Record, caption: str) -> str:
    """Return the SVG of a run; `caption` says where and how long it ran."""
    points = record.points()
    end = points[-1].at if points else 1.0
    parts = [
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" rx="8" fill="#ffffff"/>',
        _text(_LEFT, 26, "strop demo: right answers and thumbs-down, as users met them", size=16),
        _text(_LEFT, 46, caption, size=12, colour="#59636e"),
        *_bands(points, end),
        *_axes(end),
        *_marks(record.events, end),
        *_curve(points, end, "right_share", _RIGHT_COLOUR),
        *_curve(points, end, "down_share", _DOWN_COLOUR),
        *_legend(),
        *_table(record),
    ]
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'{_FONT} role="img" aria-label="Quality over time in strop demo">\n{body}\n</svg>\n'
    )


def _x(at: float, end: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * at / end


def _y(share: float) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * share


def _bands(points: Sequence[Point], end: float) -> Iterator[str]:
    """Shade the time of each release."""
    starts = [(release, next(of_one).at) for release, of_one in groupby(points, _release)]
    for (release, begin), (_, until) in pairwise([*starts, (0, end)]):
        colour, name = _BANDS[release]
        x, width = _x(begin, end), _x(until, end) - _x(begin, end)
        yield (
            f'<rect x="{x:.1f}" y="{_TOP}" width="{width:.1f}" height="{_BOTTOM - _TOP}" '
            f'fill="{colour}"/>'
        )
        yield _text(x + 2, _TOP - 5, name, size=13, weight="bold")


def _axes(end: float) -> Iterator[str]:
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = _y(share)
        dash = ' stroke-dasharray="6 4"' if share == MAX_DOWN_SHARE else ""
        colour = _DOWN_COLOUR if share == MAX_DOWN_SHARE else _FAINT
        yield _rule(_LEFT, y, _WIDTH - _RIGHT, y, colour, dash)
        yield _text(_LEFT - 8, y + 4, percent(share), size=11, anchor="end")
    for minute in range(int(end // 60) + 1):
        yield _text(_x(minute * 60, end), _BOTTOM + 16, str(minute), size=11, anchor="middle")
    yield _text(_WIDTH - _RIGHT, _BOTTOM + 32, "minutes", size=11, anchor="end")


def _marks(events: Sequence[Event], end: float) -> Iterator[str]:
    """Mark the turning points with a line and the word for it, at two heights in turn."""
    names = {
        "change": "the company changes",
        "fell": "quality fell",
        "train": "training",
    }
    shown = [event for event in events if event.mark in names]
    for number, event in enumerate(shown):
        x = _x(event.at, end)
        yield _rule(x, _TOP, x, _BOTTOM, _INK, ' stroke-dasharray="2 3"')
        yield _text(x + 4, _BOTTOM - 8 - 16 * (number % 2), names[event.mark], size=11)


def _curve(points: Sequence[Point], end: float, name: str, colour: str) -> Iterator[str]:
    """Draw one curve, in a piece per release: at a swap it jumps, it does not climb."""
    for _, of_one in groupby(points, _release):
        known = [(point.at, getattr(point, name)) for point in of_one]
        path = " ".join(
            f"{_x(at, end):.1f},{_y(share):.1f}" for at, share in known if share is not None
        )
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>'


def _legend() -> Iterator[str]:
    for at, (colour, name) in enumerate(
        (
            (_RIGHT_COLOUR, "right answers"),
            (_DOWN_COLOUR, "thumbs-down among ratings (dashed: Strop acts above 25%)"),
        )
    ):
        x, y = _LEFT + 160 * at, _BOTTOM + 32
        yield _rule(x, y - 4, x + 24, y - 4, colour, ' stroke-width="2.5"')
        yield _text(x + 30, y, name, size=12)


def _table(record: Record) -> Iterator[str]:
    """Write the summary under the curves."""
    columns = (_LEFT, _LEFT + 330, _LEFT + 500, _LEFT + 670, _WIDTH - _RIGHT)
    heads = ("", "500 held-out rows", "right answers", "thumbs-down", "ratings")
    rows = [heads, *(_cells(row) for row in table_rows(record))]
    for number, row in enumerate(rows):
        y = _BOTTOM + 58 + 16 * number
        for x, cell in zip(columns, row, strict=True):
            anchor = "start" if x == _LEFT else "end"
            yield _text(x, y, cell, size=12, anchor=anchor)


def _cells(row: dict[str, object]) -> tuple[str, ...]:
    shares = (row["held_out_score"], row["right_share"], row["down_share"])
    return (
        str(row["phase"]),
        *(percent(share if isinstance(share, float) else None) for share in shares),
        str(row["num_ratings"]),
    )


def _release(point: Point) -> int:
    return point.release


def _rule(x0: float, y0: float, x1: float, y1: float, colour: str, more: str) -> str:
    return (
        f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{colour}"{more}/>'
    )


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: int,
    anchor: str = "start",
    colour: str = _INK,
    weight: str = "normal",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
        f'fill="{colour}" font-weight="{weight}">{escape(text)}</text>'
    )
