"""What the benchmarks compute: percentiles, ratios, and what other programs print."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.openloop import write_request
from tests.bench.overhead import times
from tests.bench.peers import PEERS, chat, fill
from tests.bench.report import added, medians, percentile, table
from tests.bench.wrk import Load, read_load


@given(values=st.lists(st.floats(0, 1e6), min_size=1), share=st.sampled_from([0.0, 0.5, 0.99, 1.0]))
def test_a_percentile_is_the_smallest_value_that_covers_its_share(
    values: list[float], share: float
) -> None:
    """Nearest rank: one of the values, at or above that share of all, and no smaller one is."""
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values)
    smaller = [value for value in values if value < found]
    assert not smaller or len(smaller) < share * len(values)


def test_percentiles_of_a_hundred_values_are_their_ranks() -> None:
    """Of 1 to 100, the median is 50 and the 99th percentile 99."""
    values = list(range(100, 0, -1))
    assert (percentile(values, 0.5), percentile(values, 0.99)) == (50, 99)


def test_rounds_come_down_to_medians_and_to_what_is_added_to_going_direct() -> None:
    """Each figure has its own median; what is added is the difference of medians."""
    figures = medians(
        [{"p50_ms": 3, "p99_ms": 9}, {"p50_ms": 1, "p99_ms": 7}, {"p50_ms": 2, "p99_ms": 8}]
    )
    assert figures == {"p50_ms": 2, "p99_ms": 8}
    assert added(figures, {"p50_ms": 0.5}) == {"added_p50_ms": 1.5}


def test_what_wrk_prints_is_read() -> None:
    """The script's line counts, among all that wrk says."""
    said = "Running 1s test\n  1 threads\nRESULT 4711 1.000000 0.280 1.250 0\n"
    assert read_load(said) == Load(4711, 1.0, 0.28, 1.25, 0)
    assert read_load(said).figures["per_second"] == 4711


def test_wrk_without_a_result_is_an_error() -> None:
    """A wrk that could not connect prints none."""
    with pytest.raises(ValueError, match="unable to connect"):
        read_load("unable to connect to 127.0.0.1:1 Connection refused\n")


def test_nobody_is_any_number_of_times_as_fast_as_who_answers_nothing() -> None:
    """A peer that is missing, or answered nothing in its time, has no ratio."""
    assert times(100, {"per_second": 40}) == 2.5
    assert times(100, {"per_second": 0}) is None
    assert times(100, None) is None


@pytest.mark.parametrize("num_bytes", [4_000, 400_000])
def test_a_chats_question_is_as_long_as_asked(num_bytes: int) -> None:
    """To the byte, and in a form that wrk's script can hold: `]]` would end it there."""
    body = chat("base", num_bytes)
    assert len(json.loads(body)["messages"][-1]["content"]) == num_bytes
    assert b"]]" not in body


def test_every_place_in_a_peers_configuration_is_filled() -> None:
    """Braces of the configuration's own stay."""
    words = {"peers": "P", "port": "1", "upstream": "http://u", "upstream_host": "u"}
    for peer in PEERS.values():
        for text in (peer.command, *peer.files.values(), *peer.headers.values()):
            filled = fill(text, words)
            assert not any(f"{{{name}}}" in filled for name in words)
    assert fill("{a} {b}", {"a": "1"}) == "1 {b}"


def test_a_request_goes_over_the_wire_with_its_length() -> None:
    """Head, empty line, body; the client's headers in it."""
    raw = write_request("127.0.0.1:1", {"authorization": "Bearer k"}, b"{}")
    head, _, body = raw.partition(b"\r\n\r\n")
    assert body == b"{}"
    assert head.splitlines()[0] == b"POST /v1/chat/completions HTTP/1.1"
    assert {b"content-length: 2", b"authorization: Bearer k"} <= set(head.splitlines())


def test_a_table_has_its_columns_below_each_other() -> None:
    """Words to the left, numbers to the right, what is not known as a dash."""
    assert table(["who", "/s"], [["strop", 12345.6], ["x", None]]).splitlines() == [
        "who        /s",
        "strop  12,346",
        "x           -",
    ]
