"""What an operator may say of one key's fields, and how that changes. `fields.py` abides by it."""

from collections.abc import Iterator, Mapping, Set
from typing import Final

import msgspec

from gateway.dialects.served import optional_fields, ranges
from gateway.policy.checks import Range, hold, integer
from gateway.policy.fields import ALLOWABLE, same_limit
from gateway.quota.schemas import SCHEMAS, USUAL_SCHEMAS
from serving.errors import InvalidRequestError
from serving.routing.catalog import Exceptions

_LARGEST: Final = 2**31 - 1
_LENGTH: Final = "max_tokens"


class FieldChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is to be special about a key's requests, besides what is so already."""

    allow: frozenset[str] = frozenset()
    """Fields that it may send, though others may not."""
    forbid: frozenset[str] = frozenset()
    """Fields that it may not send, though others may."""
    most: dict[str, int | float] = {}
    """Upper bounds in place of the usual ones; `max_tokens` is that of all dialects, and `schemas`
    that of different JSON schemas an hour."""
    usual: frozenset[str] = frozenset()
    """Fields of which nothing is special any more."""


def changed(now: Exceptions, change: FieldChange) -> Exceptions:
    """Return a key's exceptions after a change.

    Raises:
        InvalidRequestError: a name is not known, or is allowed and forbidden at once; a bound does
            not fit its field.
    """
    allow, forbid, usual = change.allow, change.forbid, change.usual
    _check_names("allow", allow, _fields())
    _check_names("forbid", forbid, _fields())
    _check_names("most", change.most.keys(), _numbers())
    _check_names("usual", usual, _fields() | _numbers() | _named(now))
    _check_bounds(change.most)
    if both := allow & forbid:
        raise InvalidRequestError(f"`{min(both)}` cannot be allowed and forbidden.", param="allow")
    most = {**now.most, **change.most}
    return Exceptions(
        allowed=(now.allowed | allow) - forbid - usual,
        forbidden=(now.forbidden | forbid) - allow - usual,
        most={name: high for name, high in most.items() if name not in usual},
    )


def _fields() -> frozenset[str]:
    return ALLOWABLE | optional_fields()


def _numbers() -> frozenset[str]:
    return frozenset(name for name, _ in _bounds()) - same_limit(_LENGTH) | {_LENGTH}


def _bounds() -> Iterator[tuple[str, Range]]:
    yield from ranges()
    yield SCHEMAS, integer(1, USUAL_SCHEMAS)


def _named(exceptions: Exceptions) -> frozenset[str]:
    return exceptions.allowed | exceptions.forbidden | exceptions.most.keys()


def _check_names(param: str, names: Set[str], known: frozenset[str]) -> None:
    if unknown := names - known:
        raise InvalidRequestError(
            f"`{param}` knows no field `{min(unknown)[:64]}`. It knows {', '.join(sorted(known))}.",
            param=param,
        )


def _check_bounds(bounds: Mapping[str, int | float]) -> None:
    for name, usual in _bounds():
        if name in bounds:
            hold(bounds[name], f"most.{name}", usual.up_to(_LARGEST))
