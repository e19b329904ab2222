"""JSON Schema as a grammar in llama.cpp's notation (GBNF): every text of it is valid JSON that fits the schema.

The converse does not hold, where it is not needed: properties come in the schema's order, none but those that it names, with at most
one space between values. What a grammar cannot promise (`pattern`, `not`, `uniqueItems`, …) is refused by name. llama.cpp's own way is
not taken, since the package's build of it takes llguidance, which goes on without any constraint where it fails.

https://json-schema.org/draft/2020-12 · https://github.com/ggml-org/llama.cpp/blob/master/grammars/README.md
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from synfire.base.errors import UserError
from synfire.engines.language import grammar_numbers

Schema = Mapping[str, Any]

MOST_DEPTH, MOST_VALUES = 32, 4096
"""Levels and values of a schema."""
MOST_REPEATS = 2000
"""Of characters and items, in all bounds together: a grammar holds each of them."""
_LARGEST = 10**15

_REFUSED = frozenset(
    (
        *("pattern", "not", "uniqueItems", "contains", "if", "then", "else", "patternProperties", "propertyNames"),
        *("minProperties", "maxProperties", "dependentRequired", "dependentSchemas", "multipleOf", "unevaluatedItems"),
        *("unevaluatedProperties", "$dynamicRef"),
    )
)
_ANNOTATIONS = frozenset(
    ("title", "description", "default", "examples", "$defs", "definitions", "$schema", "$id", "$comment")
)
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")

_BASICS = {
    "ws": '" "?',
    "char": r'[^"\\\x7F\x00-\x1F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4})',
    "string": r'"\"" char* "\""',
    "integer": '"-"? ("0" | [1-9] [0-9]{0,15})',
    "number": 'integer ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,3})?',
    "boolean": '"true" | "false"',
    "null": '"null"',
    "array": '"[" ws (value (ws "," ws value)*)? ws "]"',
    "object": r'"{" ws (string ws ":" ws value (ws "," ws string ws ":" ws value)*)? ws "}"',
    "value": "object | array | string | number | boolean | null",
    "date": '[0-9]{4} "-" ("0" [1-9] | "1" [0-2]) "-" ("0" [1-9] | [12] [0-9] | "3" [01])',
    "time": '([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ("Z" | [+-] ([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9])',
    "hex": "[0-9a-fA-F]",
}
_FORMATS = {
    "date": "date",
    "time": "time",
    "date-time": 'date "T" time',
    "uuid": 'hex{8} "-" hex{4} "-" hex{4} "-" hex{4} "-" hex{12}',
}


def grammar_of(schema: Schema) -> str:
    """The grammar of a schema's JSON. Raises `UserError` that names what in it cannot be promised, and where."""
    _check_size(schema)
    made = _Grammar(schema)
    rules = {"root": made.of(schema, "schema"), **made.rules, **_BASICS}
    return "\n".join(f"{name} ::= {body}" for name, body in rules.items())


class _Grammar:
    """Makes the rules of one schema; `rules` are those beside the basic ones."""

    def __init__(self, whole: Schema) -> None:
        self.rules: dict[str, str] = {}
        self._whole = whole
        self._named: dict[str, str] = {}
        self._left = MOST_REPEATS
        self._makers: dict[str, Callable[[Schema, str], str]] = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "integer": self._integer,
            "number": self._number,
        }

    def of(self, schema: Any, at: str) -> str:
        """An expression for the JSON of `schema`, which lies at that place."""
        if schema is True or schema == {}:
            return "value"
        if not isinstance(schema, Mapping):
            raise UserError(f"{at} is {schema!r}, which nothing fits, or which is no schema; mend it")
        wrong = sorted(_REFUSED & schema.keys())
        if wrong:
            raise UserError(
                f"{at} has {wrong[0]!r}, which no grammar can promise; leave it out, and check it in the answer"
            )
        if "$ref" in schema:
            return self._reference(schema, at)
        if "const" in schema:
            return _literal(schema["const"])
        if "enum" in schema:
            return _any(_literal(each) for each in _list(schema["enum"], f"{at}.enum"))
        for word in ("anyOf", "oneOf", "allOf"):
            if word in schema:
                return self._one_of(schema, word, at)
        return self._typed(schema, at)

    def _typed(self, schema: Schema, at: str) -> str:
        kind = schema.get("type", _implied(schema))
        if isinstance(kind, list):
            return _any(self._typed({**schema, "type": each}, at) for each in _list(kind, f"{at}.type"))
        if not isinstance(kind, str):
            raise UserError(f"{at}.type is {kind!r}, which is no type of JSON; mend it")
        if kind in self._makers:
            return self._makers[kind](schema, at)
        if kind not in ("boolean", "null", "value"):
            raise UserError(f"{at}.type is {kind!r}, which is no type of JSON; mend it")
        return str(kind)

    def _reference(self, schema: Schema, at: str) -> str:
        path = _text(schema["$ref"], f"{at}.$ref")
        beside = schema.keys() - _ANNOTATIONS - {"$ref"}
        if beside:
            raise UserError(f"{at} has {min(beside)!r} beside $ref; put it where $ref points to")
        if path not in self._named:
            self._named[path] = name = f"ref{len(self._named)}"
            self.rules[name] = self.of(self._found(path, at), path)
        return self._named[path]

    def _found(self, path: str, at: str) -> Any:
        found: Any = self._whole
        first, *steps = path.split("/")
        for step in steps:
            key = step.replace("~1", "/").replace("~0", "~")
            found = found.get(key) if isinstance(found, Mapping) else None
        if first != "#" or found is None:
            raise UserError(f"{at}.$ref is {path!r}, which is not in this schema; put it under $defs")
        return found

    def _one_of(self, schema: Schema, word: str, at: str) -> str:
        """A choice. What stands beside it holds for each of them."""
        options = _list(schema[word], f"{at}.{word}")
        if word == "allOf" and len(options) > 1:
            raise UserError(f"{at} has an allOf of {len(options)} schemas, and one is what can be promised; merge them")
        beside = {name: value for name, value in schema.items() if name != word and name not in _ANNOTATIONS}
        merged = [{**beside, **each} if beside and isinstance(each, Mapping) else each for each in options]
        return _any(self.of(each, f"{at}.{word}[{place}]") for place, each in enumerate(merged))

    def _object(self, schema: Schema, at: str) -> str:
        properties, required = schema.get("properties", {}), schema.get("required", [])
        if not isinstance(properties, Mapping) or not isinstance(required, list):
            raise UserError(f"{at} has properties that are no object, or required that is no list; mend it")
        missing = [each for each in required if not (isinstance(each, str) and each in properties)]
        if missing:
            raise UserError(f"{at}.required names {missing[0]!r}, which is not among the properties; say what it is")
        if properties:
            pairs = [
                (f'{_literal(name)} ws ":" ws {self._grouped(value, f"{at}.{name}")}', name in required)
                for name, value in properties.items()
            ]
            return rf'"{{" ws {self._in_order(pairs)} ws "}}"'
        others = schema.get("additionalProperties", True)
        if others is False:
            return '"{" ws "}"'
        pair = f'string ws ":" ws {self._grouped(others, f"{at}.additionalProperties")}'
        return f'"{{" ws {_repeated(pair, 0, None)} ws "}}"'

    def _in_order(self, pairs: Sequence[tuple[str, bool]]) -> str:
        """The pairs one after the other, each of which may be left out unless it is required. The rule for what follows is either
        after a pair, and then a comma comes first, or at the beginning."""
        after = first = '""'
        for pair, required in reversed(pairs):
            follows = after
            after = self._rule(f'ws "," ws {pair} {follows}' + ("" if required else f" | {follows}"))
            first = self._rule(f"{pair} {follows}" + ("" if required else f" | {first}"))
        return first

    def _array(self, schema: Schema, at: str) -> str:
        least, most = self._bounds(schema, "minItems", "maxItems", at)
        prefix = schema.get("prefixItems")
        if prefix is not None:
            items = [self._grouped(each, f"{at}.prefixItems") for each in _list(prefix, f"{at}.prefixItems")]
            if not least <= len(items) <= (len(items) if most is None else most):
                raise UserError(
                    f"{at} has {len(items)} prefixItems, and minItems or maxItems asks for another number; mend it"
                )
            return '"[" ws ' + ' ws "," ws '.join(items) + ' ws "]"'
        item = self._grouped(schema.get("items", True), f"{at}.items")
        return f'"[" ws {_repeated(item, least, most)} ws "]"'

    def _string(self, schema: Schema, at: str) -> str:
        least, most = self._bounds(schema, "minLength", "maxLength", at)
        form = _FORMATS.get(_text(schema.get("format", ""), f"{at}.format"))
        if form is not None:
            return rf'"\"" {form} "\""'
        if not least and most is None:
            return "string"
        return rf'"\"" char{{{least},{"" if most is None else most}}} "\""'

    def _integer(self, schema: Schema, at: str) -> str:
        low, high = _range(schema, at, _BOUNDS)
        return "integer" if low is high is None else grammar_numbers.whole(low, high)

    def _number(self, schema: Schema, at: str) -> str:
        beyond = [name for name in _BOUNDS[2:] if name in schema]
        if beyond:
            raise UserError(
                f"{at} has {beyond[0]!r}, which a grammar holds whole numbers to alone; name a bound that is included"
            )
        low, high = _range(schema, at, _BOUNDS[:2])
        return "number" if low is high is None else grammar_numbers.decimal(low, high)

    def _bounds(self, schema: Schema, low: str, high: str, at: str) -> tuple[int, int | None]:
        """The least and the greatest number of characters or items."""
        least, most = schema.get(low, 0), schema.get(high)
        for name, value in ((low, least), (high, 0 if most is None else most)):
            if not (isinstance(value, int) and value >= 0):
                raise UserError(f"{at}.{name} is {value!r}; it takes a whole number from 0 on")
        if most is not None and most < least:
            raise UserError(f"{at}: {high} is {most}, and {low} is {least}; nothing fits both")
        self._left -= least if most is None else most
        if self._left < 0:
            raise UserError(f"{at} brings the bounds of lengths above {MOST_REPEATS} in all; ask for less at a time")
        return least, most

    def _grouped(self, schema: Any, at: str) -> str:
        """An expression that can stand in a sequence."""
        return self._rule(self.of(schema, at))

    def _rule(self, body: str) -> str:
        """The name of a rule with that body; a name alone needs none."""
        if body.replace("-", "").isalnum():
            return body
        name = f"r{len(self.rules)}"
        self.rules[name] = body
        return name


def _check_size(schema: Schema) -> None:
    level: list[Any] = [schema]
    depth = count = 0
    while level:
        depth, count = depth + 1, count + len(level)
        if depth > MOST_DEPTH or count > MOST_VALUES:
            raise UserError(
                f"the schema has more than {MOST_DEPTH} levels or {MOST_VALUES} values; ask for less at a time"
            )
        level = [inner for each in level for inner in _inner(each)]


def _inner(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list) else ()


def _implied(schema: Schema) -> str:
    """The type of a schema that does not say: by what else it says."""
    if "properties" in schema or "additionalProperties" in schema:
        return "object"
    return "array" if "items" in schema or "prefixItems" in schema else "value"


def _repeated(item: str, least: int, most: int | None) -> str:
    """So many items with commas between them."""
    if most == 0:
        return '""'
    more = f'(ws "," ws {item}){{{max(0, least - 1)},{"" if most is None else most - 1}}}'
    return f"{item} {more}" if least else f"({item} {more})?"


def _range(schema: Schema, at: str, names: Sequence[str]) -> tuple[int | None, int | None]:
    """The least and the greatest number that bounds of these names leave."""
    found = {name: schema[name] for name in names if name in schema}
    wrong = [name for name, value in found.items() if not (isinstance(value, int) and abs(value) < _LARGEST)]
    if wrong:
        raise UserError(
            f"{at}.{wrong[0]} is {found[wrong[0]]!r}; a grammar holds to bounds that are whole numbers below 10¹⁵"
        )
    lows = [found[name] + extra for name, extra in (("minimum", 0), ("exclusiveMinimum", 1)) if name in found]
    highs = [found[name] - extra for name, extra in (("maximum", 0), ("exclusiveMaximum", 1)) if name in found]
    low, high = max(lows, default=None), min(highs, default=None)
    if low is not None and high is not None and low > high:
        raise UserError(f"{at}: nothing lies between {low} and {high}; mend its bounds")
    return low, high


def _text(value: Any, at: str) -> str:
    if not isinstance(value, str):
        raise UserError(f"{at} is {value!r}, which is no text; mend it")
    return value


def _list(value: Any, at: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise UserError(f"{at} is {value!r}, which is no list of one or more; mend it")
    return value


def _any(options: Iterable[str]) -> str:
    found = list(dict.fromkeys(options))
    return found[0] if len(found) == 1 else f"({' | '.join(found)})"


def _literal(value: Any) -> str:
    """A text of the grammar: the JSON of a value."""
    return json.dumps(json.dumps(value, ensure_ascii=False, separators=(",", ":")), ensure_ascii=False)
