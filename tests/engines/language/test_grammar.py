"""JSON Schemas as grammars. That engines hold to them the conformance suite shows; here is what becomes of each part of a schema."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synfire.base.errors import UserError
from synfire.engines.language.grammar import grammar_of


def rules(schema: dict[str, Any]) -> dict[str, str]:
    return dict(line.split(" ::= ", 1) for line in grammar_of(schema).splitlines())


def root(schema: dict[str, Any]) -> str:
    return rules(schema)["root"]


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        ({}, "value"),
        ({"type": "string"}, "string"),
        ({"type": ["string", "null"]}, "(string | null)"),
        ({"const": 'a"b'}, r'"\"a\\\"b\""'),
        ({"enum": ["x", 1, None]}, r'("\"x\"" | "1" | "null")'),
        ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, "(boolean | null)"),
        ({"type": "integer"}, "integer"),
        ({"type": "integer", "exclusiveMinimum": 0, "maximum": 20}, '([1-9] | ("1" [0-9] | "2" "0"))'),
        ({"type": "number", "minimum": 0, "maximum": 1}, '("0" ("." [0-9]{1,16})? | "1" ("." "0"{1,16})?)'),
        ({"type": "string", "minLength": 1, "maxLength": 3}, r'"\"" char{1,3} "\""'),
        ({"type": "string", "format": "date"}, r'"\"" date "\""'),
        ({"type": "string", "format": "email"}, "string"),
        ({"type": "object", "properties": {}, "additionalProperties": False}, '"{" ws "}"'),
        ({"type": "array", "maxItems": 0}, '"[" ws "" ws "]"'),
        ({"items": {"type": "null"}}, '"[" ws (null (ws "," ws null){0,})? ws "]"'),
        ({"items": {"type": "null"}, "minItems": 2, "maxItems": 4}, '"[" ws null (ws "," ws null){1,3} ws "]"'),
        (
            {"type": "array", "prefixItems": [{"type": "null"}, {"type": "string"}]},
            '"[" ws null ws "," ws string ws "]"',
        ),
    ],
)
def test_each_part_of_a_schema_has_its_grammar(schema, wanted):
    assert root(schema) == wanted


def test_what_is_beside_a_choice_holds_for_each_of_its_options():
    assert root({"type": "string", "anyOf": [{"maxLength": 1}, {"format": "date"}]}) == (
        r'("\"" char{0,1} "\"" | "\"" date "\"")'
    )


def test_schemas_may_refer_to_themselves():
    found = rules({"$ref": "#/$defs/n", "$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}}}})
    assert found["root"] == "ref0"
    assert found["ref0"] == '"[" ws (ref0 (ws "," ws ref0){0,})? ws "]"'


def test_every_rule_that_is_named_is_there():
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"items": {"$ref": "#"}}, "c": {"enum": ["ws", "a b"]}},
        "required": ["b"],
    }
    found = rules(schema)
    assert {"r", "ref0"} & {name.rstrip("0123456789") or name for name in found} or "ref0" in found
    for body in found.values():
        bare = "".join(part for place, part in enumerate(body.replace(r"\"", "").split('"')) if place % 2 == 0)
        for name in bare.replace("(", " ").replace(")", " ").split():
            if name[0] == "r" and name[1:].isdecimal():
                assert name in found


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "string", "pattern": "a+"}, "'pattern', which no grammar can promise"),
        ({"properties": {"a": {"not": {}}}}, r"schema\.a has 'not'"),
        ({"type": "text"}, "no type of JSON"),
        ({"$ref": "#/$defs/no"}, "not in this schema"),
        ({"$ref": "http://127.0.0.1/x"}, "not in this schema"),
        ({"$ref": 5}, "no text"),
        ({"$ref": "#", "minItems": 1}, "'minItems' beside"),
        ({"properties": {}, "required": ["a"]}, "not among the properties"),
        ({"allOf": [{}, {}]}, "merge them"),
        ({"enum": []}, "no list of one or more"),
        ({"type": "integer", "minimum": 0.5}, "bounds that are whole numbers"),
        ({"type": "integer", "minimum": 10**15}, "bounds that are whole numbers"),
        ({"type": "integer", "minimum": 5, "exclusiveMaximum": 5}, "nothing lies between 5 and 4"),
        ({"type": "number", "exclusiveMaximum": 5}, "'exclusiveMaximum'"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "nothing fits both"),
        ({"type": "string", "maxLength": -1}, "from 0 on"),
        ({"type": "array", "minItems": None}, "from 0 on"),
        ({"type": "array", "items": False}, "nothing fits"),
        ({"prefixItems": [{}], "minItems": 2}, "another number"),
        ({"properties": {str(n): {"maxLength": 1500, "type": "string"} for n in range(2)}}, "above 2000 in all"),
        ({"enum": list(range(5000))}, "4096 values"),
    ],
)
def test_what_cannot_be_promised_is_refused_by_name(schema, message):
    with pytest.raises(UserError, match=message):
        grammar_of(schema)


def test_a_schema_that_is_too_deep_is_refused():
    deep: dict[str, Any] = {}
    for _ in range(10000):
        deep = {"items": deep}
    with pytest.raises(UserError, match="32 levels"):
        grammar_of(deep)


WORDS = st.sampled_from(
    [
        "type",
        "properties",
        "required",
        "items",
        "prefixItems",
        "enum",
        "const",
        "anyOf",
        "oneOf",
        "allOf",
        "$ref",
        "$defs",
        "minItems",
        "maxItems",
        "minLength",
        "maxLength",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "format",
        "additionalProperties",
        "a",
    ]
)
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.floats(allow_nan=False, allow_infinity=False), WORDS, st.just("#"),
    st.sampled_from(["object", "array", "string", "integer", "number", "null", "date", "#/$defs/a"]),
)  # fmt: skip
ANYTHING = st.recursive(VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4))


@given(st.dictionaries(WORDS, ANYTHING, max_size=5))
@settings(max_examples=300)
def test_whatever_comes_becomes_a_grammar_or_is_refused(schema):
    try:
        found = rules(schema)
    except UserError:
        return
    assert all(found.values()), "a rule is empty"
