"""Signed ids: what a feedback caller holds is proof enough that the answer was ours.

An inference id is 48 characters of base32hex (0-9a-v, so that text order is time order) over

    milliseconds since 1970 : 6 bytes, big-endian
    key id                  : 1 byte, which of sign.key's keys signed it
    flags                   : 1 byte, bit 0 = not logged
    random                  : 8 bytes
    tenant tag              : 4 bytes of BLAKE2b over the tenant's name
    MAC                     : 10 bytes of BLAKE2b, keyed, over the 20 bytes before

A forger needs 2^80 tries; the tag lets a worker tell a foreign id without asking the database.
"""

import base64
import hmac
import os
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Final

from serving.errors import ConfigurationError, NotFoundError

ID_LENGTH: Final = 48
_MAC_BYTES: Final = 10
_NOT_LOGGED: Final = 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LETTERS: Final = b"0123456789abcdefghijklmnopqrstuv" * 8
"""Byte -> the letter of the digit in its lower 5 bits."""
PREFIXES: Final = ("chatcmpl-", "cmpl-", "resp_", "msg_", "embd-")


@dataclass(frozen=True, slots=True)
class InferenceId:
    """A verified id, read."""

    text: str
    begun_at: datetime
    tenant_tag: bytes
    is_logged: bool

    def belongs_to(self, tenant: str) -> bool:
        """Whether `tenant` made the request."""
        return hmac.compare_digest(self.tenant_tag, tenant_tag(tenant))


class Signer:
    """Mints and verifies inference ids with the keys of `sign.key`; the last key signs."""

    def __init__(self, keys: dict[int, bytes]) -> None:
        self._keys = keys
        self._current = max(keys)
        # Copied for each id: to key a hash anew costs as much as to take one.
        self._macs = {
            key_id: blake2b(key=key, digest_size=_MAC_BYTES) for key_id, key in keys.items()
        }
        self._salts: dict[str, str] = {}

    def mint(self, tenant: str, *, is_logged: bool = True) -> str:
        """Return a new id for a request of `tenant`."""
        return self.mint_at(time.time_ns() // 1_000_000, tenant, is_logged=is_logged)

    def mint_at(self, milliseconds: int, tenant: str, *, is_logged: bool = True) -> str:
        """Return a new id that says it was made at `milliseconds` since 1970."""
        flags = 0 if is_logged else _NOT_LOGGED
        head = (
            milliseconds.to_bytes(6, "big")
            + bytes((self._current, flags))
            + os.urandom(8)
            + tenant_tag(tenant)
        )
        return _text_of(head + self._mac(self._current, head))

    def verify(self, text: str) -> InferenceId:
        """Read an id, with or without the prefix that the engine gave it.

        Raises:
            NotFoundError: it is not one of ours. Says no more, by intent.
        """
        bare = strip_prefix(text)
        # ASCII only: U+0131 and U+017F would become letters of the alphabet in upper case.
        is_plausible = len(bare) == ID_LENGTH and bare.isascii()
        try:
            raw = base64.b32hexdecode(bare.upper()) if is_plausible else b""
        except ValueError:
            raw = b""
        head, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        if len(raw) != 30 or head[6] not in self._keys:
            raise unknown_inference()
        if not hmac.compare_digest(mac, self._mac(head[6], head)):
            raise unknown_inference()
        return InferenceId(
            text=bare.lower(),
            begun_at=begun_at(bare),
            tenant_tag=head[16:20],
            is_logged=not head[7] & _NOT_LOGGED,
        )

    def cache_salt(self, tenant: str) -> str:
        """Return what keeps a tenant's prefix cache in the engine apart from all others'.

        The same on every gateway worker; nobody without `sign.key` can tell it.
        """
        salt = self._salts.get(tenant)
        if salt is None:
            hashed = blake2b(
                b"cache salt of " + tenant.encode(), key=self._keys[self._current], digest_size=16
            )
            salt = self._salts[tenant] = hashed.hexdigest()
        return salt

    def address_key(self) -> bytes:
        """Return the secret that deals addresses to counts."""
        key = self._keys[self._current]
        return blake2b(b"counts of addresses", key=key, digest_size=32).digest()

    def split_key(self) -> bytes:
        """Return the secret that deals rows to the parts of a dataset.

        Of the oldest key, so that a new one does not deal them anew.
        """
        key = self._keys[min(self._keys)]
        return blake2b(b"split of examples", key=key, digest_size=32).digest()

    def _mac(self, key_id: int, head: bytes) -> bytes:
        mac = self._macs[key_id].copy()
        mac.update(head)
        return mac.digest()


def unknown_inference() -> NotFoundError:
    """Unknown, foreign, unlogged and purged ids get this one answer."""
    return NotFoundError("There is no such inference.", code="inference_not_found")


def strip_prefix(text: str) -> str:
    """Return the id without `chatcmpl-` and its like."""
    for prefix in PREFIXES:
        if text.startswith(prefix):
            return text.removeprefix(prefix)
    return text


def begun_at(inference_id: str) -> datetime:
    """Return when the id was made: UTC, to the millisecond. The id is taken as ours.

    Raises:
        ValueError: it has no time, so it is none of ours.
    """
    if len(inference_id) != ID_LENGTH or not (inference_id.isascii() and inference_id.isalnum()):
        raise ValueError(f"{inference_id!r:.100} is no inference id")
    # Ten digits of base 32 hold 50 bits; the time is in the first 48 of them.
    return moment_of(int(inference_id[:10], 32) >> 2)


def lowest_id(at: datetime) -> str:
    """Return what sorts, byte by byte, after every id made before `at`, and before all others."""
    milliseconds = max(0, (at - _EPOCH) // timedelta(milliseconds=1))
    # Zeros fill up the last of ten digits, whose lower two bits are not of the time.
    return base64.b32hexencode(milliseconds.to_bytes(6, "big"))[:10].decode().lower()


def moment_of(milliseconds: int) -> datetime:
    """Return a time that is told in milliseconds since 1970.

    Raises:
        ValueError: it is outside of what a date can be.
    """
    try:
        # Integer arithmetic: a partition key has to come out the same every time.
        return _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError as error:
        raise ValueError(f"{milliseconds} ms since 1970 is no date: {error}") from error


@lru_cache(maxsize=4096)
def tenant_tag(tenant: str) -> bytes:
    """Return the 4 bytes that stand for a tenant inside an id."""
    return blake2b(tenant.encode(), digest_size=4).digest()


def _lower_halves(num_digits: int) -> int:
    """Return the bits of so many digits in every stretch of twice as many bytes."""
    stretch = ((1 << 5 * num_digits) - 1).to_bytes(2 * num_digits, "big")
    return int.from_bytes(stretch * (64 // len(stretch)), "big")


_SPREADS: Final = tuple((_lower_halves(half), 3 * half) for half in (32, 16, 8, 4, 2, 1))


def _text_of(raw: bytes) -> str:
    """Return an id's text: base32hex, in less than half the time that `base64` takes.

    A digit has 5 bits, its letter 8. So what is above the lower 32 digits moves up by the 3 bits
    that each of them lacks; then the same in each 32, 16, ... until a byte holds one digit.
    """
    bits = int.from_bytes(raw, "big")
    for lower_halves, missing in _SPREADS:
        stays = bits & lower_halves
        bits = stays | (bits ^ stays) << missing
    return bits.to_bytes(ID_LENGTH, "big").translate(_LETTERS).decode()


def load_signer(path: Path) -> Signer:
    """Read `sign.key`: lines of `key-id hex`, 0 to 255; the highest id signs.

    Raises:
        ConfigurationError: the file is missing or no key file.
    """
    try:
        lines = [line.split() for line in path.read_text().splitlines() if line.strip()]
        return Signer({int(number): bytes.fromhex(key) for number, key in lines})
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"{path} does not exist. `strop migrate` makes it on a new home."
        ) from error
    except ValueError as error:
        raise ConfigurationError(f"{path} is no key file: {error}.") from error


def make_sign_key(path: Path) -> None:
    """Create `sign.key` with one key, readable by its owner only; leave an existing one be."""
    write_secret(path, f"1 {secrets.token_hex(32)}\n")


def write_secret(path: Path, text: str) -> bool:
    """Create a 0600 file whole or not at all; return False where one is there already."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    try:
        # A link, not a rename: of two processes that start at once, one wins and none overwrites.
        path.hardlink_to(draft)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True
