"""What the benchmarks compute: percentiles, ratios, and what other programs print."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.as_is import read_calls
from tests.bench.openloop import write_request
from tests.bench.overhead import times
from tests.bench.peers import PEERS, chat, fill
from tests.bench.report import added, finish, make_parser, medians, percentile, table
from tests.bench.rows import Tally, judge
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


@pytest.mark.parametrize(
    ("num_failed", "num_rows", "is_ok"),
    [(0, 100, True), (0, 133, True), (0, 99, False), (0, 134, False), (1, 100, False)],
)
def test_rows_fit_what_clients_saw(num_failed: int, num_rows: int, is_ok: bool) -> None:
    """As many as were answered, or one more for each connection and for who asked on their own."""
    tally = Tally()
    tally.add(100, num_failed, 32)
    assert judge(tally, num_rows, num_asked=1)["is_ok"] is is_ok


@pytest.mark.parametrize("is_ok", [True, False])
def test_a_load_test_whose_rows_are_wrong_fails(
    is_ok: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever it measured, which is told all the same."""
    figures = {"load_before": 0.1, "is_ok": is_ok}
    assert finish("any", figures, "Fast.", make_parser("").parse_args([])) == (0 if is_ok else 1)
    assert "Fast." in capsys.readouterr().out


def test_calls_of_wrk_by_others_are_counted() -> None:
    """All of those for our target."""
    said = "  50 requests in 1.00s, 5MB read\nRESULT 50.0 0.280 1.250 2"
    calls = [("8", "http://a:1"), ("32", "http://a:1"), ("32", "http://b:1")]
    kept = "".join(f"-t1 -c{at} -d1s -s lua {url}/v1/c\n{said}\n" for at, url in calls)
    assert read_calls(kept, "http://a:1") == Tally(96, 4, 41)
    with pytest.raises(ValueError, match="no result for http://c:1"):
        read_calls(kept, "http://c:1")


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
