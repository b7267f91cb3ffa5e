"""What the demo shows of its story: curve, screen, table, picture and JSON, from one record."""

import io
import json
from xml.etree import ElementTree

import pytest
from rich.console import Console

from deploy.demo.picture import draw_picture
from deploy.demo.plot import Stroke, draw
from deploy.demo.record import Phase, Record, to_json
from deploy.demo.view import chart, print_summary


def test_the_curve_looks_back_but_never_across_a_swap() -> None:
    """A point counts the last 20 seconds of the release that answers, and none of another's."""
    record = Record()
    for second in range(20):
        record.count_answer(second, 1, is_right=False)
        record.count_rating(second, 1, is_up=False)
    for second in range(20, 40):
        record.count_answer(second, 2, is_right=True)
    points = {point.at: point for point in record.points()}
    assert (points[20.0].release, points[20.0].right_share) == (1, 0.0)
    assert points[25.0].right_share is None  # five answers say nothing yet
    assert (points[40.0].release, points[40.0].right_share) == (2, 1.0)
    assert points[40.0].down_share is None


def test_lines_are_drawn_without_gaps() -> None:
    """A line from corner to corner touches every column, lower left first."""
    rows = draw([Stroke([(0.0, 0.0), (1.0, 1.0)], "green")], 10, 4)
    assert all(any(row[column][1] == "green" for row in rows) for column in range(10))
    assert rows[-1][0][1] == "green"
    assert rows[0][0][1] == ""


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_screen_and_the_table_fit(width: int) -> None:
    """The chart is as wide as it was told; an empty record draws, too."""
    record = _told()
    for points in ([], record.points()):
        lines = chart(points, width).plain.splitlines()
        assert max(len(line) for line in lines[:-1]) == width
    output = io.StringIO()
    print_summary(Console(file=output, width=width), record)
    assert output.getvalue().count("\n") == 1 + len(Phase)


def test_the_picture_is_well_formed_and_names_the_releases() -> None:
    """The SVG parses, shows each release, and carries its caption escaped."""
    root = ElementTree.fromstring(draw_picture(_told(), "2 cores & <more>"))  # noqa: S314 - ours
    texts = ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"base", "v1", "v2", "2 cores & <more>"} <= set(texts)
    assert draw_picture(Record(), "nothing yet").startswith("<svg")


def test_the_record_is_plain_json() -> None:
    """`--json` prints the table, the events and the curve."""
    assert set(json.loads(json.dumps(to_json(_told())))) >= {"table", "events", "curve"}


def _told() -> Record:
    record = Record()
    for release, begins in ((1, 0), (2, 60), (3, 180)):
        for second in range(begins, begins + 60):
            record.is_changed = begins >= 180
            record.count_answer(second, release, is_right=release > 1)
            record.count_rating(second, release, is_up=release > 1)
    record.is_changed = True
    record.note(130, "the company changes", "change")
    record.count_answer(130, 2, is_right=False)
    return record
