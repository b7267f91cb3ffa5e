"""Checks of objects: which fields they may have, and which of their `type`. Other fields stay behind."""

from collections.abc import Collection, Mapping
from typing import Any

from gateway.policy.checks import Check, Schema, UnfitError, at, one_of, takes

Fields = Mapping[str, Check]
"""Name -> what the field of that name has to pass."""
Kinds = Mapping[str, tuple[Fields, Fields]]
"""`type` -> the fields that an object of that type needs, and those that it may have."""


def record(value: Any) -> dict[str, Any]:
    """Take an object."""
    if not isinstance(value, dict):
        raise UnfitError("an object")
    return value


def pick(value: Any, fields: Fields, needed: Collection[str] = ()) -> dict[str, Any]:
    """Take an object's known fields, some of which have to be there; the others stay behind."""
    found = record(value)
    picked = {}
    for key, check in fields.items():
        inner = found.get(key)
        if inner is not None:
            try:
                picked[key] = check(inner)
            except UnfitError as fault:
                raise fault.inside(f".{key}") from None
    for key in needed:
        if key not in picked:
            raise UnfitError("there", f".{key}")
    return picked


def shape(fields: Fields, needed: Collection[str] = ()) -> Schema:
    """Return the schema of what `pick` takes: `null` is a field that is not there."""
    return {
        "type": "object",
        "properties": {
            name: check.schema if name in needed else _or_null(check.schema)
            for name, check in fields.items()
        },
        "required": list(needed),
    }


def of_fields(fields: Fields, needed: Collection[str] = ()) -> Check:
    """Take an object's known fields, some of which have to be there."""

    @takes(shape(fields, needed))
    def check(value: Any) -> Any:
        return pick(value, fields, needed)

    return check


def of_kind(kinds: Kinds, *, default: str | None = None) -> Check:
    """Take an object whose `type` says what else it may have."""
    known = one_of(*kinds)
    fields = {kind: {**needed, **others} for kind, (needed, others) in kinds.items()}

    @takes({"anyOf": [_shape_of(kind, *found, default) for kind, found in kinds.items()]})
    def check(value: Any) -> Any:
        kind = at(".type", record(value).get("type", default), known)
        return {"type": kind, **pick(value, fields[kind], kinds[kind][0])}

    return check


def under_type(parts: Fields) -> Check:
    """Take an object that holds, under the name that its `type` says, what passes that name's check."""
    known = one_of(*parts)
    shapes = [
        shape({"type": one_of(kind), kind: part}, ("type", kind)) for kind, part in parts.items()
    ]

    @takes({"anyOf": shapes})
    def check(value: Any) -> Any:
        kind = at(".type", record(value).get("type"), known)
        return {"type": kind, kind: at("." + kind, value.get(kind), parts[kind])}

    return check


def _shape_of(kind: str, needed: Fields, others: Fields, default: str | None) -> Schema:
    found = shape({**needed, **others}, needed)
    return found | {
        "properties": {"type": one_of(kind).schema, **found["properties"]},
        "required": found["required"] if kind == default else ["type", *found["required"]],
    }


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}
