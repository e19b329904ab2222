"""Protocol buffers as text, read without a schema: fields by name, each with its line.

protobuf's own reader tells no lines of what it has read, and cannot keep a field that it does not know; here both are needed, to say of
each line of a file what becomes of it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from synfire.base.errors import UserError

_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
    |(?P<number>[-+]?\s*(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?[fF]?))
    |(?P<word>[A-Za-z_][A-Za-z0-9_./]*|\[[A-Za-z_][A-Za-z0-9_./]*\](?=\s*[:{]))
    |(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<sign>[{}\[\]<>:;,])""",
    re.VERBOSE,
)
_CLOSING = {"{": "}", "<": ">"}
_DEEPEST = 32


class Word(str):
    """A value that is no quoted text: an enumerated one, or a truth."""

    __slots__ = ()


class Field(NamedTuple):
    """A field, as often as it is there."""

    name: str
    value: str | int | float | Block
    line: int


@dataclass(frozen=True)
class Block:
    """A message: its fields in the order of the text."""

    fields: tuple[Field, ...]

    def all(self, name: str) -> list[Field]:
        """All fields of that name."""
        return [each for each in self.fields if each.name == name]


class _Token(NamedTuple):
    kind: str
    text: str
    line: int


def parse(text: str, where: str) -> Block:
    """The message. Raises `UserError`, which names the line."""
    tokens = _Tokens(list(_tokens(text, where)), where)
    return Block(tuple(_fields(tokens, "", 0)))


class _Tokens:
    def __init__(self, tokens: list[_Token], where: str) -> None:
        self._left = tokens
        self._place = 0
        self._where = where

    @property
    def next(self) -> _Token:
        last = self._left[-1].line if self._left else 1
        return self._left[self._place] if self._place < len(self._left) else _Token("end", "", last)

    def take(self) -> _Token:
        token = self.next
        self._place += 1
        return token

    def skip(self, *signs: str) -> bool:
        """Whether one of the signs was next; it is taken then."""
        found = self.next.kind == "sign" and self.next.text in signs
        self._place += found
        return found

    def refuse(self, wanted: str) -> UserError:
        found = repr(self.next.text) if self.next.text else "the end"
        return UserError(f"{self._where}, line {self.next.line}: {wanted} should be here, and there is {found}")


def _tokens(text: str, where: str) -> Iterator[_Token]:
    place, line = 0, 1
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            raise UserError(
                f"{where}, line {line}: {text[place : place + 20]!r} cannot be read; the file is no text of a protocol buffer"
            )
        kind, said = str(found.lastgroup), found[0]
        if kind != "space":
            yield _Token(kind, said, line)
        line += said.count("\n")
        place = found.end()


def _fields(tokens: _Tokens, closing: str, depth: int) -> Iterator[Field]:
    if depth > _DEEPEST:
        raise tokens.refuse(f"a field at most {_DEEPEST} deep")
    while not (tokens.skip(closing) if closing else tokens.next.kind == "end"):
        if tokens.next.kind != "word":
            raise tokens.refuse("a field's name" + (f", or {closing!r}" if closing else ""))
        name = tokens.take()
        colon = tokens.skip(":")
        for value in _values(tokens, colon, depth):
            yield Field(name.text, value, name.line)
        tokens.skip(",", ";")


def _values(tokens: _Tokens, colon: bool, depth: int) -> Iterator[str | int | float | Block]:
    """The value of a field, or those of a list."""
    if not tokens.skip("["):
        yield _value(tokens, colon, depth)
        return
    while not tokens.skip("]"):
        yield _value(tokens, colon, depth)
        if not tokens.skip(",") and tokens.next.text != "]":
            raise tokens.refuse("',' or ']'")


def _value(tokens: _Tokens, colon: bool, depth: int) -> str | int | float | Block:
    opening = tokens.next.text
    if tokens.next.kind == "sign" and tokens.skip(*_CLOSING):
        return Block(tuple(_fields(tokens, _CLOSING[opening], depth + 1)))
    if not colon:
        raise tokens.refuse("':' or '{'")
    if tokens.next.kind == "text":
        return "".join(_texts(tokens))
    if tokens.next.kind == "number":
        return _number(tokens.take().text)
    if tokens.next.kind == "word":
        return Word(tokens.take().text)
    raise tokens.refuse("a value")


def _texts(tokens: _Tokens) -> Iterator[str]:
    """Texts that stand behind each other are one."""
    while tokens.next.kind == "text":
        try:
            yield _unescaped(tokens.next.text)
        except (SyntaxError, ValueError) as error:
            raise tokens.refuse("a text without a broken escape") from error
        tokens.take()


def _unescaped(quoted: str) -> str:
    """Its escapes are bytes of UTF-8, as those of Python's bytes are."""
    plain = "".join(chr(each) if each < 0x80 else f"\\x{each:02x}" for each in quoted.encode())
    content: bytes = ast.literal_eval(f"b{plain}")
    return content.decode()


def _number(text: str) -> int | float:
    plain = re.sub(r"\s", "", text)
    if re.fullmatch(r"[-+]?0[xX][0-9a-fA-F]+|[-+]?\d+", plain):
        return int(plain, 16) if "x" in plain.lower() else int(plain)
    return float(plain.rstrip("fF"))
