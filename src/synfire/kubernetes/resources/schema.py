"""Types as structural schemas: what `apiextensions.k8s.io/v1` takes, in the oldest release supported as in the newest.

There are no expressions (CEL) among them: 1.20 knows none, and what they could say is said by a condition, with how to mend it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import inspect

from synfire.base.errors import Bug

Schema = dict[str, Any]

_FREE: Schema = {"x-kubernetes-preserve-unknown-fields": True}

_EMPTY: tuple[Any, ...] = (None, "", {}, ())
"""Defaults that are what is read anyway where nothing is said: an object is not filled with them."""

_BOUNDS = {
    "ge": "minimum",
    "le": "maximum",
    "min_length": "minLength",
    "max_length": "maxLength",
    "pattern": "pattern",
}
_OF_LISTS = {"minLength": "minItems", "maxLength": "maxItems"}


def schema_of(struct: type[msgspec.Struct]) -> Schema:
    """The schema of a struct's JSON. Raises `Bug` for a type that has none."""
    return _schema(inspect.type_info(struct))


def _schema(found: inspect.Type) -> Schema:
    if isinstance(found, inspect.Metadata):
        return _schema(found.type) | (found.extra_json_schema or {})
    if isinstance(found, inspect.UnionType):
        return _only(found)
    for kind, make in _MAKERS:
        if isinstance(found, kind):
            return make(found)
    raise Bug(f"no schema is known for {found}; use another type, or teach it here")


def _only(found: inspect.UnionType) -> Schema:
    """Of `X | None`: a field that may be left out is no other type for that."""
    (one,) = (each for each in found.types if not isinstance(each, inspect.NoneType))
    return _schema(one)


def _struct(found: inspect.StructType) -> Schema:
    properties = {field.encode_name: _field(field) for field in found.fields}
    required = [field.encode_name for field in found.fields if field.required]
    schema: Schema = {"type": "object", "properties": properties}
    return schema | ({"required": required} if required else {})


def _field(field: inspect.Field) -> Schema:
    schema = _schema(field.type)
    given = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
    if given is msgspec.NODEFAULT or given in _EMPTY:
        return schema
    return schema | {"default": msgspec.to_builtins(given)}


def _literal(found: inspect.LiteralType) -> Schema:
    return {"type": "string", "enum": list(found.values)}


def _dict(found: inspect.DictType) -> Schema:
    return {"type": "object", "additionalProperties": _schema(found.value_type)}


def _bounded(kind: str) -> Callable[[Any], Schema]:
    def made(found: Any) -> Schema:
        bounds = {name: getattr(found, each, None) for each, name in _BOUNDS.items()}
        if kind == "array":
            bounds = {_OF_LISTS.get(name, name): value for name, value in bounds.items()}
            bounds["items"] = _schema(found.item_type)
        return {"type": kind, **{name: value for name, value in bounds.items() if value is not None}}

    return made


_MAKERS: tuple[tuple[type[inspect.Type], Callable[[Any], Schema]], ...] = (
    (inspect.StructType, _struct),
    (inspect.LiteralType, _literal),
    (inspect.DictType, _dict),
    (inspect.VarTupleType, _bounded("array")),
    (inspect.StrType, _bounded("string")),
    (inspect.IntType, _bounded("integer")),
    (inspect.FloatType, _bounded("number")),
    (inspect.BoolType, _bounded("boolean")),
    (inspect.AnyType, lambda found: dict(_FREE)),
)
