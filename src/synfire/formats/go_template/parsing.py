"""A template as a tree.

template = { text | action }
action   = pipeline
         | "if" pipeline … { "else" "if" pipeline … } [ "else" … ] "end"
         | "range" [ $i [, $v] ":=" ] pipeline … [ "else" … ] "end"
         | "with" pipeline … [ "else" … ] "end"
         | "break" | "continue"
pipeline = [ $x (":=" | "=") ] command { "|" command }
command  = operand { operand }           the first is a function where others follow, or where it is a word
operand  = ( literal | "." | "$x" | word | "(" pipeline ")" ) { ".field" }
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from synfire.formats.go_template.functions import FUNCTIONS
from synfire.formats.go_template.lexing import Part, Token, parts, wrong

DEEPEST = 64
"""Blocks and brackets within each other."""

_CONSTANTS = {"true": True, "false": False, "nil": None}


@dataclass(frozen=True)
class Literal:
    value: Any


@dataclass(frozen=True)
class Place:
    """A value that is there: of a variable, or of the dot where `variable` is empty; and fields within it."""

    variable: str
    fields: tuple[str, ...] = ()


@dataclass(frozen=True)
class Called:
    """A function with its arguments."""

    function: str
    arguments: tuple[Operand, ...] = ()


@dataclass(frozen=True)
class Inner:
    """A pipeline in brackets, and fields within its value."""

    pipeline: Pipeline
    fields: tuple[str, ...] = ()


Operand = Literal | Place | Called | Inner


@dataclass(frozen=True)
class Pipeline:
    """Commands, each given the value of the one before as its last argument. Its value goes to `variable`, where that is named: a new
    one where it is `declared`."""

    commands: tuple[Operand, ...]
    line: int
    variable: str = ""
    declared: bool = False


@dataclass(frozen=True)
class Branch:
    """`if`, or `with`, which also makes the value the dot."""

    pipeline: Pipeline
    then: tuple[Node, ...]
    otherwise: tuple[Node, ...]
    moves: bool = False


@dataclass(frozen=True)
class Loop:
    """`range`: `variables` are those for the number and the value, as far as they are named."""

    pipeline: Pipeline
    variables: tuple[str, ...]
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]


@dataclass(frozen=True)
class Jump:
    """`break`, or `continue`."""

    breaks: bool


Node = str | Pipeline | Branch | Loop | Jump


@dataclass(frozen=True)
class Template:
    """A template that was read: its nodes, and the names of all fields that it reads."""

    nodes: tuple[Node, ...]
    fields: frozenset[str]


@lru_cache(maxsize=64)
def parse(template: str) -> Template:
    """Read a template. Raises `UserError` with the line, for what is none, and for what of Go's language is not known here."""
    reader = _Reader(list(parts(template)))
    return Template(tuple(reader.nodes()), frozenset(reader.fields))


@dataclass
class _Reader:
    parts: list[Part]
    fields: set[str] = field(default_factory=set)
    _at: int = 0
    _blocks: list[str] = field(default_factory=list)

    def nodes(self) -> list[Node]:
        """All nodes of the template."""
        found, end = self._list()
        if end is not None:
            raise wrong(end.line, f"{{{{ {_word(end)} }}}} ends nothing that has begun")
        return found

    def _list(self) -> tuple[list[Node], Part | None]:
        """Nodes up to an `end` or `else`, which is returned, too."""
        found: list[Node] = []
        while self._at < len(self.parts):
            part = self.parts[self._at]
            self._at += 1
            if part.tokens is None:
                found.append(part.text)
            elif _word(part) in ("end", "else"):
                return found, part
            else:
                found.append(self._action(part))
        return found, None

    def _action(self, part: Part) -> Node:
        word, rest = _word(part), (part.tokens or ())[1:]
        if word in ("if", "with"):
            return self._branch(part.line, word, rest)
        if word == "range":
            return self._loop(part.line, rest)
        if word in ("break", "continue"):
            if "range" not in self._blocks:
                raise wrong(part.line, f"{word} stands in no range")
            return Jump(word == "break")
        if word in ("define", "block", "template"):
            raise wrong(part.line, f"{word} is not known here; write the template in one piece")
        return self._pipeline(part.line, part.tokens or ())

    def _branch(self, line: int, word: str, tokens: Sequence[Token]) -> Branch:
        then, end = self._block(line, word)
        otherwise: Sequence[Node] = ()
        if _word(end) == "else":
            more = (end.tokens or ())[1:]
            if more and more[0].kind == "word" and more[0].value in ("if", "with"):
                otherwise = (self._branch(end.line, more[0].value, more[1:]),)
            else:
                otherwise = self._last(line, word)
        return Branch(self._pipeline(line, tokens), tuple(then), tuple(otherwise), word == "with")

    def _loop(self, line: int, tokens: Sequence[Token]) -> Loop:
        variables, rest = _loop_variables(tokens)
        body, end = self._block(line, "range")
        otherwise = self._last(line, "range") if _word(end) == "else" else ()
        return Loop(self._pipeline(line, rest), variables, tuple(body), tuple(otherwise))

    def _block(self, line: int, word: str) -> tuple[list[Node], Part]:
        """The nodes of a block, and what ends them."""
        self._blocks.append(word)
        if len(self._blocks) > DEEPEST:
            raise wrong(line, f"blocks stand more than {DEEPEST} deep in each other")
        found, end = self._list()
        self._blocks.pop()
        if end is None:
            raise wrong(line, f"{{{{ {word} … }}}} has no {{{{ end }}}}")
        return found, end

    def _last(self, line: int, word: str) -> list[Node]:
        found, end = self._block(line, word)
        if _word(end) != "end":
            raise wrong(end.line, f"a second else of one {word}")
        return found

    def _pipeline(self, line: int, tokens: Sequence[Token]) -> Pipeline:
        if (
            len(tokens) > 1
            and tokens[0].kind == "variable"
            and tokens[1].value in (":=", "=")
            and tokens[1].kind == "sign"
        ):
            commands = self._commands(line, tokens[2:])
            return Pipeline(commands, line, tokens[0].value, tokens[1].value == ":=")
        return Pipeline(self._commands(line, tokens), line)

    def _commands(self, line: int, tokens: Sequence[Token]) -> tuple[Operand, ...]:
        return tuple(self._command(line, each, number > 0) for number, each in enumerate(_split(tokens)))

    def _command(self, line: int, tokens: Sequence[Token], given: bool) -> Operand:
        operands: list[Operand] = []
        place = 0
        while place < len(tokens):
            operand, place = self._operand(line, tokens, place)
            operands.append(operand)
        if not operands:
            raise wrong(line, "a value is missing")
        first, *arguments = operands
        if isinstance(first, Called):
            return Called(first.function, tuple(arguments))
        if arguments or given:
            raise wrong(line, "a value that is no function is given arguments")
        return first

    def _operand(self, line: int, tokens: Sequence[Token], place: int) -> tuple[Operand, int]:
        token = tokens[place]
        if token.kind == "sign" and token.value == "(":
            end = _closing(line, tokens, place)
            inner = self._pipeline(line, tokens[place + 1 : end])
            fields, place = self._fields(tokens, end + 1)
            return Inner(inner, fields), place
        if token.kind == "field" or token.kind == "variable":
            name = token.value if token.kind == "variable" else ""
            fields, place = self._fields(tokens, place + bool(name), not name)
            return Place(name, fields), place
        if (token.kind, token.value) == ("sign", "."):
            return Place(""), place + 1
        if token.kind == "word" and token.value not in _CONSTANTS:
            if token.value not in FUNCTIONS:
                raise wrong(line, f"there is no function {token.value!r}; there are {', '.join(sorted(FUNCTIONS))}")
            return Called(token.value), place + 1
        if token.kind in ("string", "number", "word"):
            return Literal(_CONSTANTS[token.value] if token.kind == "word" else token.value), place + 1
        raise wrong(line, f"{token.value!r} stands where a value should")

    def _fields(self, tokens: Sequence[Token], place: int, first: bool = False) -> tuple[tuple[str, ...], int]:
        """The fields that follow without a space; the `first` one may have one before it."""
        found: list[str] = []
        while place < len(tokens) and tokens[place].kind == "field" and (first or not tokens[place].apart):
            found.append(tokens[place].value)
            first = False
            place += 1
        self.fields.update(found)
        return tuple(found), place


def _word(part: Part) -> str:
    """The word that an action begins with; empty for another beginning."""
    first = part.tokens[0] if part.tokens else None
    return str(first.value) if first is not None and first.kind == "word" else ""


def _loop_variables(tokens: Sequence[Token]) -> tuple[tuple[str, ...], Sequence[Token]]:
    """The variables before `:=`, and the rest."""
    for count in (1, 3):
        head = tokens[:count]
        if (
            len(tokens) > count
            and tokens[count].value == ":="
            and all(each.kind in ("variable", "sign") for each in head)
        ):
            return tuple(each.value for each in head if each.kind == "variable"), tokens[count + 1 :]
    return (), tokens


def _split(tokens: Sequence[Token]) -> list[Sequence[Token]]:
    """The tokens between the bars that stand in no brackets."""
    found: list[list[Token]] = [[]]
    depth = 0
    for each in tokens:
        if each.kind == "sign":
            depth += {"(": 1, ")": -1}.get(each.value, 0)
        if each.kind == "sign" and each.value == "|" and not depth:
            found.append([])
        else:
            found[-1].append(each)
    return list(found)


def _closing(line: int, tokens: Sequence[Token], place: int) -> int:
    depth = 0
    for number in range(place, len(tokens)):
        if tokens[number].kind == "sign":
            depth += {"(": 1, ")": -1}.get(tokens[number].value, 0)
            if depth > DEEPEST:
                raise wrong(line, f"brackets stand more than {DEEPEST} deep in each other")
        if not depth:
            return number
    raise wrong(line, "a bracket is not closed")
