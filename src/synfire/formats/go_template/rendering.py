"""A template with values, as text."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from synfire.base.errors import UserError
from synfire.formats.go_template.functions import FUNCTIONS, LAZY, MOST_TEXT, text_of, true
from synfire.formats.go_template.lexing import wrong
from synfire.formats.go_template.parsing import (
    Branch,
    Called,
    Inner,
    Jump,
    Literal,
    Loop,
    Node,
    Operand,
    Pipeline,
    Template,
)

MOST_STEPS = 1_000_000


def render(template: Template, values: Mapping[str, Any], until: str = "") -> str:
    """The text. With `until`, the name of a field, it ends behind the first place where that is read.

    Raises `UserError`, with the line, for what the values do not allow, and for a template that does not come to an end.
    """
    rendering = _Rendering(values, until)
    with contextlib.suppress(_End):
        rendering.nodes(template.nodes, values)
    return "".join(rendering.written)


class _End(Exception):
    """Raised where the text ends."""


class _Jumped(Exception):
    """Raised by `break` and `continue`."""

    def __init__(self, breaks: bool) -> None:
        self.breaks = breaks


class _Rendering:
    """One rendering: the variables that are known where it is, innermost last, and what was written."""

    def __init__(self, values: Mapping[str, Any], until: str) -> None:
        self.written: list[str] = []
        self._scopes: list[dict[str, Any]] = [{"$": values}]
        self._until = until
        self._ends = False
        self._steps = 0
        self._size = 0

    def nodes(self, nodes: Sequence[Node], dot: Any) -> None:
        for node in nodes:
            self._step()
            if isinstance(node, str):
                self._write(node)
            elif isinstance(node, Pipeline):
                value = self._value(node, dot)
                if not node.variable:
                    self._write(text_of(value))
            elif isinstance(node, Branch):
                self._branch(node, dot)
            elif isinstance(node, Loop):
                self._loop(node, dot)
            elif isinstance(node, Jump):
                raise _Jumped(node.breaks)
            if self._ends:
                raise _End

    def _branch(self, node: Branch, dot: Any) -> None:
        self._scopes.append({})
        value = self._decided(node.pipeline, dot)
        if true(value):
            self.nodes(node.then, value if node.moves else dot)
        else:
            self.nodes(node.otherwise, dot)
        self._scopes.pop()

    def _loop(self, node: Loop, dot: Any) -> None:
        pairs = _pairs(self._decided(node.pipeline, dot), node.pipeline.line)
        depth = len(self._scopes)
        if not pairs:
            self.nodes(node.otherwise, dot)
        for key, value in pairs:
            self._step()
            names = node.variables
            found = {names[-1]: value} if names else {}
            self._scopes.append(found | ({names[0]: key} if len(names) > 1 else {}))
            try:
                self.nodes(node.body, value)
            except _Jumped as jumped:
                if jumped.breaks:
                    break
            finally:
                del self._scopes[depth:]

    def _decided(self, pipeline: Pipeline, dot: Any) -> Any:
        """The value that says how it goes on; where the text ends there, it does not."""
        value = self._value(pipeline, dot)
        if self._ends:
            raise _End
        return value

    def _value(self, pipeline: Pipeline, dot: Any) -> Any:
        try:
            first, *others = pipeline.commands
            value = self._operand(first, dot)
            for each in others:
                assert isinstance(each, Called)  # the parser lets nothing else be given a value
                value = self._call(each, dot, (value,))
        except UserError as error:
            raise error if str(error).startswith("the template") else wrong(pipeline.line, str(error)) from error
        if pipeline.variable:
            self._assign(pipeline, value)
        return value

    def _operand(self, operand: Operand, dot: Any) -> Any:
        self._step()
        if isinstance(operand, Literal):
            return operand.value
        if isinstance(operand, Called):
            return self._call(operand, dot)
        if isinstance(operand, Inner):
            return self._within(self._value(operand.pipeline, dot), operand.fields)
        return self._within(self._variable(operand.variable) if operand.variable else dot, operand.fields)

    def _call(self, called: Called, dot: Any, given: tuple[Any, ...] = ()) -> Any:
        values: list[Any] = []
        for each in called.arguments:
            values.append(self._operand(each, dot))
            if called.function in LAZY and true(values[-1]) is LAZY[called.function]:
                return values[-1]
        try:
            return FUNCTIONS[called.function](*values, *given)
        except (TypeError, IndexError) as error:
            count = len(values) + len(given)
            raise UserError(f"{called.function} does not take {count} values of these kinds: {error}") from error

    def _within(self, value: Any, fields: Sequence[str]) -> Any:
        for name in fields:
            if name == self._until:
                self._ends = True
            if value is not None and not isinstance(value, Mapping):
                raise UserError(f"{text_of(value)!r} has no field .{name}")
            value = value.get(name) if value is not None else None
        return value

    def _variable(self, name: str) -> Any:
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        raise UserError(f"there is no variable {name}")

    def _assign(self, pipeline: Pipeline, value: Any) -> None:
        if pipeline.declared:
            self._scopes[-1][pipeline.variable] = value
            return
        for scope in reversed(self._scopes):
            if pipeline.variable in scope:
                scope[pipeline.variable] = value
                return
        raise wrong(pipeline.line, f"there is no variable {pipeline.variable}; declare it with :=")

    def _write(self, text: str) -> None:
        self._size += len(text)
        if self._size > MOST_TEXT:
            raise UserError(f"the template makes more than {MOST_TEXT} characters; shorten it, or what it is given")
        self.written.append(text)

    def _step(self) -> None:
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise UserError(f"the template takes more than {MOST_STEPS} steps; make it simpler")


def _pairs(value: Any, line: int) -> list[tuple[Any, Any]]:
    """What `range` goes over: keys, or numbers from 0, with values."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        return [(key, value[key]) for key in sorted(value)]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return list(enumerate(value))
    raise wrong(line, f"range cannot go over {text_of(value)!r}")
