"""The logs of children: what is kept of them, and which line says why one died."""

from pathlib import Path

import pytest

from serving.fleet.child_log import last_words, rotate, shorten


def test_the_log_before_is_kept(tmp_path: Path) -> None:
    """A start keeps the last run's log as `.1` and forgets the one before."""
    log = tmp_path / "engine.log"
    for text in ("oldest", "older", "newest"):
        rotate(log)
        log.write_text(text)
    assert log.read_text() == "newest"
    assert (tmp_path / "engine.log.1").read_text() == "older"


def test_a_log_that_grows_too_long_begins_anew_under_its_writer(tmp_path: Path) -> None:
    """The child keeps its file open: what it writes next stands at the beginning."""
    log = tmp_path / "engine.log"
    with log.open("ab", buffering=0) as child:
        child.write(b"short")
        shorten(log, max_bytes=5)
        assert log.read_bytes() == b"short"
        child.write(b" no more")
        shorten(log, max_bytes=5)
        child.write(b"next")
    assert log.read_bytes() == b"next"
    assert (tmp_path / "engine.log.1").read_bytes() == b"short no more"


def test_a_log_that_cannot_be_shortened_stops_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody removed it, or the disk is full: said in our own log."""
    shorten(tmp_path / "gone.log")
    assert "gone.log" in caplog.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ""),
        ("one\ntwo\n\n", "two"),
        ("Traceback\n  File x\nOSError: no such port\nbye", "OSError: no such port"),
        (
            "(EngineCore pid=7) ERROR 11-22 15:46:05 [core.py:1] ValueError: too little memory\n"
            "(APIServer pid=1) RuntimeError: Engine core initialization failed. See above.",
            "ValueError: too little memory",
        ),
    ],
)
def test_last_words_are_the_cause(tmp_path: Path, text: str, words: str) -> None:
    """The last error counts, else the last line; vLLM's summary of a cause is not the cause."""
    log = tmp_path / "engine.log"
    log.write_text(text)
    assert last_words(log) == words
