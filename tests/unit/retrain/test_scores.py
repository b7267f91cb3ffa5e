"""What an answer is worth: right or wrong decides, the rest is reported beside it."""

import pytest

from retrain.scores import ItemScore, macro_f1, score_item, summarise
from serving.types import Task


@pytest.mark.parametrize("task", [task for task in Task if task not in (Task.JSON, Task.EXTRACT)])
def test_a_text_is_right_when_it_is_the_same(task: Task) -> None:
    """White space around it aside; case counts."""
    assert score_item(task, "Harbor", " Harbor\n") == ItemScore(is_right=True, parts={})
    assert not score_item(task, "Harbor", "harbor").is_right
    assert not score_item(task, "Harbor", "").is_right


@pytest.mark.parametrize(
    ("answer", "is_right", "is_valid", "num_fields"),
    [
        ('{"b": 1, "a": null}', True, True, 2),  # order and spaces are no difference
        ('{"b": 1}', False, True, 1),  # a field that is not there is not null
        ('{"a": null, "b": 2}', False, True, 1),
        ('{"a": null, "b": 1, "c": 0}', False, True, 2),
        ("null", False, True, 0),
        ("[]", False, True, 0),
        ('{"b": 1', False, False, 0),
        ("", False, False, 0),
        ("[" * 100_000, False, False, 0),
    ],
)
@pytest.mark.parametrize("task", [Task.JSON, Task.EXTRACT])
def test_json_is_right_as_a_whole_and_counted_by_fields(
    task: Task, answer: str, is_right: bool, is_valid: bool, num_fields: int
) -> None:
    """The whole object decides; each expected field is reported, and whether it is JSON at all."""
    item = score_item(task, '{"a": null, "b": 1}', answer)
    assert (item.is_right, item.parts["exact_match"], item.parts["valid_json"]) == (
        is_right,
        is_right,
        is_valid,
    )
    assert item.parts["field.a"] + item.parts["field.b"] == num_fields


def test_json_that_is_no_object_is_compared_as_a_value() -> None:
    """A list by its items in order; what ought to be no JSON is never right."""
    assert score_item(Task.EXTRACT, "[1, 2]", "[1,2]").is_right
    assert not score_item(Task.EXTRACT, "[1, 2]", "[2, 1]").is_right
    assert score_item(Task.JSON, "null", "null").is_right
    assert not score_item(Task.JSON, "no json", "no json").is_right


def test_macro_f1_is_the_mean_over_the_expected_labels() -> None:
    """By hand: F1 of a is 2/3, of b 2/4, of c 0; a label that nobody expected is no class."""
    expected, answers = ["a", "a", "b", "b", "c"], ["a", "x", "b", "c", "b"]
    assert macro_f1(expected, answers) == pytest.approx((2 / 3 + 2 / 4 + 0) / 3)
    assert macro_f1(expected, expected) == 1


@pytest.mark.parametrize(
    ("task", "expected", "answers", "metrics"),
    [
        (Task.CLASSIFY, ["a", "b "], ["a", "a"], {"exact_match": 0.5, "macro_f1": (2 / 3 + 0) / 2}),
        (Task.CHAT, ["a", "b"], ["a", "a"], {"exact_match": 0.5}),
        (
            Task.JSON,
            ['{"a": 1}', '{"a": 1, "b": 2}'],
            ['{"a": 1}', '{"a": 0, "b": 2}'],
            {"exact_match": 0.5, "valid_json": 1.0, "field.a": 0.5, "field.b": 1.0},
        ),
    ],
)
def test_a_summary_has_the_metrics_of_its_task(
    task: Task, expected: list[str], answers: list[str], metrics: dict[str, float]
) -> None:
    """The share of right answers with its interval; a field counts where it is expected."""
    items = [score_item(task, *pair) for pair in zip(expected, answers, strict=True)]
    summary = summarise(task, expected, answers, items)
    assert (summary.num_items, summary.score) == (2, 0.5)
    assert (summary.low, summary.high) == (0.0, 1.0)
    assert summary.metrics == pytest.approx(metrics)
