"""Signed ids: made only by us, readable by us, in the order of time."""

import base64
import stat
import string
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import ConfigurationError, NotFoundError
from serving.ids import (
    ID_LENGTH,
    PREFIXES,
    Signer,
    begun_at,
    load_signer,
    make_sign_key,
    strip_prefix,
    write_secret,
)

KEYS = {1: b"1" * 32, 2: b"2" * 32}
ALPHABET = string.digits + "abcdefghijklmnopqrstuv"
TENANTS = st.text(min_size=1, max_size=20)


@given(tenant=TENANTS, other=TENANTS, is_logged=st.booleans())
def test_an_id_says_whose_it_is(tenant: str, other: str, is_logged: bool) -> None:
    """Tenant and the not-logged flag are inside, under the MAC."""
    signer = Signer(KEYS)
    text = signer.mint(tenant, is_logged=is_logged)
    read = signer.verify(text)
    assert len(text) == ID_LENGTH
    assert set(text) <= set(ALPHABET)
    assert (read.text, read.is_logged) == (text, is_logged)
    assert read.belongs_to(tenant)
    assert read.belongs_to(other) == (tenant == other)


@given(tenant=TENANTS, milliseconds=st.integers(0, 2**47))
def test_an_id_is_base32hex(tenant: str, milliseconds: int) -> None:
    """As any library reads it: other programs take ids apart, too."""
    text = Signer(KEYS).mint_at(milliseconds, tenant)
    raw = base64.b32hexdecode(text.upper())
    assert int.from_bytes(raw[:6], "big") == milliseconds
    assert base64.b32hexencode(raw).decode().lower() == text


def test_an_id_says_when_it_was_made() -> None:
    """To the millisecond and always the same: it is the key of a partition."""
    before = time.time_ns() // 1_000_000
    text = Signer(KEYS).mint("acme")
    after = time.time_ns() // 1_000_000
    assert before <= Signer(KEYS).verify(text).begun_at.timestamp() * 1000 <= after
    made = Signer(KEYS).mint_at(1_700_000_000_123, "acme")
    assert begun_at(made) == datetime(2023, 11, 14, 22, 13, 20, 123_000, UTC)


@given(times=st.lists(st.integers(0, 2**47), min_size=2, unique=True))
def test_text_order_is_time_order(times: list[int]) -> None:
    """The database's sort by id is the sort by time, whatever tenants and keys."""
    ids = {
        milliseconds: Signer({1 + index % 2: b"k" * 32}).mint_at(milliseconds, f"t{index}")
        for index, milliseconds in enumerate(times)
    }
    assert [ids[each] for each in sorted(ids)] == sorted(ids.values())


@pytest.mark.parametrize("prefix", ["", *PREFIXES])
def test_an_engines_prefix_does_not_matter(prefix: str) -> None:
    """Clients send back what they were given: `chatcmpl-<ours>` and the like. Case neither."""
    signer = Signer(KEYS)
    text = signer.mint("acme")
    assert signer.verify(prefix + text).text == text
    assert signer.verify(prefix + text.upper()).text == text
    assert strip_prefix(prefix + text) == text


@given(place=st.integers(0, ID_LENGTH - 1), letter=st.sampled_from(ALPHABET))
def test_one_changed_letter_is_a_forgery(place: int, letter: str) -> None:
    """Wherever it is: there is no bit that the MAC does not cover."""
    signer = Signer(KEYS)
    text = signer.mint_at(1_700_000_000_000, "acme")
    forged = text[:place] + letter + text[place + 1 :]
    if forged == text:
        return
    with pytest.raises(NotFoundError):
        signer.verify(forged)


@given(text=st.one_of(st.text(), st.text(ALPHABET, min_size=ID_LENGTH, max_size=ID_LENGTH)))
def test_anything_else_is_one_answer(text: str) -> None:
    """Nonsense, too short, another signer's: 404, and never a word about why."""
    signer = Signer(KEYS)
    foreign = Signer({1: b"x" * 32, 2: b"y" * 32}).mint("acme")
    unknown_key = Signer({3: KEYS[1]}).mint("acme")
    for each in (text, foreign, unknown_key, foreign[:-1], "chatcmpl-", foreign + "0"):
        with pytest.raises(NotFoundError) as caught:
            signer.verify(each)
        assert (caught.value.message, caught.value.code) == (
            "There is no such inference.",
            "inference_not_found",
        )


def test_keys_can_be_rotated() -> None:
    """The highest key signs; ids of older keys stay good until their key is taken away."""
    old, both, new = Signer({1: KEYS[1]}), Signer(KEYS), Signer({2: KEYS[2]})
    before, after = old.mint("acme"), both.mint("acme")
    assert both.verify(before).belongs_to("acme")
    assert new.verify(after).belongs_to("acme")
    with pytest.raises(NotFoundError):
        new.verify(before)
    with pytest.raises(NotFoundError):
        old.verify(after)


def test_ids_do_not_meet() -> None:
    """8 random bytes a millisecond: two gateways never make the same id."""
    signer = Signer(KEYS)
    assert len({signer.mint_at(1, "acme") for _ in range(10_000)}) == 10_000


def test_a_key_file_is_made_once(tmp_path: Path) -> None:
    """Readable by its owner only; a second start leaves it as it is."""
    path = tmp_path / "sign.key"
    make_sign_key(path)
    text = load_signer(path).mint("acme")
    make_sign_key(path)
    assert load_signer(path).verify(text).belongs_to("acme")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_of_many_writers_of_a_secret_one_wins(tmp_path: Path) -> None:
    """Processes that start at once agree on one key, whole."""
    path = tmp_path / "admin.key"
    with ThreadPoolExecutor(8) as pool:
        wins = list(pool.map(lambda number: write_secret(path, f"{number}" * 1000), range(8)))
    assert wins.count(True) == 1
    assert path.read_text() == f"{wins.index(True)}" * 1000
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", ["1", "one 00ff", "1 xyz", "1 00 22"])
def test_a_file_that_is_no_key_file_is_told(tmp_path: Path, text: str) -> None:
    """By its path; a missing one with the mend."""
    path = tmp_path / "sign.key"
    with pytest.raises(ConfigurationError, match="strop migrate"):
        load_signer(path)
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"sign\.key is no key file"):
        load_signer(path)


def test_letters_that_only_look_alike_are_a_forgery() -> None:
    """U+0131 and U+017F become I and S in upper case: an id holding them is not ours."""
    signer = Signer({1: b"k" * 32})
    ids = (signer.mint("t") for _ in range(10_000))
    id_ = next(id_ for id_ in ids if "i" in id_ and "s" in id_)
    for letter, twin in (("i", "\u0131"), ("s", "\u017f")):
        with pytest.raises(NotFoundError):
            signer.verify(id_.replace(letter, twin, 1))
