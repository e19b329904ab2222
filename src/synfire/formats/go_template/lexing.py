"""The text of a template as texts and actions, and an action as tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from synfire.base.errors import UserError

LONGEST = 1 << 20

_ACTION = re.compile(
    r"\{\{(?P<left>-(?=\s))?(?P<body>(?:\"(?:\\.|[^\"\\\n])*\"|`[^`]*`|(?!\}\}).)*?)(?P<right>(?<=\s)-)?\}\}", re.DOTALL
)
_COMMENT = re.compile(r"\s*/\*.*\*/\s*", re.DOTALL)
_TOKEN = re.compile(
    r"""(?P<space>\s+)
    | (?P<string>"(?:\\.|[^"\\\n])*"|`[^`]*`)
    | (?P<number>[-+]?\d+(?:\.\d+)?)
    | (?P<field>\.[A-Za-z_]\w*)
    | (?P<variable>\$\w*)
    | (?P<word>[A-Za-z_]\w*)
    | (?P<sign>:=|=|\||\(|\)|,|\.)""",
    re.VERBOSE,
)


class Token(NamedTuple):
    """`kind` is a group's name of the pattern; `value` its text, or what a literal stands for. `apart` says that a space came before."""

    kind: str
    value: Any
    apart: bool


class Part(NamedTuple):
    """A text as it is written, or an action with its tokens; the line is where it begins."""

    line: int
    text: str = ""
    tokens: tuple[Token, ...] | None = None


def parts(template: str) -> Iterator[Part]:
    """The parts of a template. Raises `UserError` with the line."""
    if len(template) > LONGEST:
        raise UserError(f"the template has {len(template)} characters, and {LONGEST} are read at most; shorten it")
    place, trimmed = 0, False
    for found in _ACTION.finditer(template):
        text = _between(template[place : found.start()], trimmed, bool(found["left"]))
        line = 1 + template.count("\n", 0, place)
        if "{{" in text:
            raise _unclosed(template, place + text.index("{{"))
        if text:
            yield Part(line, text)
        line = 1 + template.count("\n", 0, found.start())
        if not _COMMENT.fullmatch(found["body"]):
            yield Part(line, tokens=tuple(_tokens(found["body"], line)))
        place, trimmed = found.end(), bool(found["right"])
    rest = _between(template[place:], trimmed, False)
    if "{{" in rest:
        raise _unclosed(template, template.index("{{", place))
    if rest:
        yield Part(1 + template.count("\n", 0, place), rest)


def wrong(line: int, what: str) -> UserError:
    """The error of a template."""
    return UserError(f"the template, line {line}: {what}; see https://pkg.go.dev/text/template")


def _between(text: str, left: bool, right: bool) -> str:
    text = text.lstrip(" \t\r\n") if left else text
    return text.rstrip(" \t\r\n") if right else text


def _unclosed(template: str, place: int) -> UserError:
    return wrong(1 + template.count("\n", 0, place), "an action that begins with {{ is not closed by }}")


def _tokens(body: str, line: int) -> Iterator[Token]:
    place, apart = 0, True
    while place < len(body):
        found = _TOKEN.match(body, place)
        if found is None or found.lastgroup is None:
            raise wrong(line, f"{body[place : place + 20]!r} cannot be read")
        place = found.end()
        if found.lastgroup == "space":
            apart = True
            continue
        yield Token(found.lastgroup, _meaning(found.lastgroup, found[0], line), apart)
        apart = False


def _meaning(kind: str, text: str, line: int) -> Any:
    if kind == "number":
        return float(text) if "." in text else int(text)
    if kind != "string":
        return text[1:] if kind == "field" else text
    if text.startswith("`"):
        return text[1:-1]
    try:
        return json.loads(text, strict=False)
    except json.JSONDecodeError as error:
        raise wrong(line, f"the text {text} has an escape that is not known") from error
