"""Conditions on values of a chain: `read.label == 7 and request.loud`, in Python's syntax and nothing of Python beside it.

condition   comparisons (== != < <= > >= in, not in) of values, joined by and, or, not
value       a place (`step`, `step.output`, `request.input`), with `[n]` an element of it; a number, a text, a list of these
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any

from synfire.base.errors import UserError
from synfire.chains.chain import Place

_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda one, several: one in several,
    ast.NotIn: lambda one, several: one not in several,
}

MOST_CHARACTERS = 1000

Look = Callable[[Place], Any]
"""Gives the value at a place, as plain numbers, texts and lists."""


@lru_cache(maxsize=1024)
def parsed(condition: str) -> ast.expr:
    """The condition as a tree of what is allowed in one. Raises `UserError` that says what is not."""
    try:
        if len(condition) > MOST_CHARACTERS:
            raise SyntaxError(f"it is longer than {MOST_CHARACTERS} characters")
        tree = ast.parse(condition.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(
            f"the condition {condition!r} cannot be read: {error}; write one such as read.label == 7"
        ) from error
    _check(tree, condition)
    return tree


def places_in(condition: str) -> tuple[Place, ...]:
    """The places that a condition looks at. Raises `UserError` as `parsed` does."""
    found: dict[Place, None] = {}
    _places(parsed(condition), found)
    return tuple(found)


def holds(condition: str, look: Look) -> bool:
    """Whether the condition holds; an empty one does. Raises `UserError` where values cannot be compared."""
    if not condition:
        return True
    try:
        return bool(_value(parsed(condition), look))
    except (TypeError, IndexError, ValueError) as error:
        raise UserError(
            f"the condition {condition!r} cannot be decided: {error}; compare values of one kind"
        ) from error


def _check(node: ast.expr, condition: str) -> None:
    match node:
        case ast.BoolOp(values=parts) | ast.List(elts=parts) | ast.Tuple(elts=parts):
            for each in parts:
                _check(each, condition)
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=inner):
            _check(inner, condition)
        case ast.Compare(left=left, ops=ops, comparators=others) if all(type(each) in _COMPARISONS for each in ops):
            for each in (left, *others):
                _check(each, condition)
        case ast.Subscript(
            value=inner, slice=ast.Constant(value=int()) | ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int()))
        ):
            _check(inner, condition)
        case ast.Name() | ast.Attribute(value=ast.Name()) | ast.Constant(value=bool() | int() | float() | str()):
            return
        case _:
            raise UserError(
                f"the condition {condition!r} holds {ast.unparse(node)!r}; it may compare places such as read.label, numbers, texts and "
                "lists, joined by and, or, not"
            )


def _places(node: ast.AST, found: dict[Place, None]) -> None:
    if isinstance(node, (ast.Name, ast.Attribute)):
        found[_place(node)] = None
        return
    for each in ast.iter_child_nodes(node):
        _places(each, found)


def _place(node: ast.Name | ast.Attribute) -> Place:
    return Place(node.id) if isinstance(node, ast.Name) else Place(ast.unparse(node.value), node.attr)


def _value(node: ast.expr, look: Look) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name() | ast.Attribute():
            return look(_place(node))
        case ast.Subscript(value=inner, slice=index):
            return _value(inner, look)[_value(index, look)]
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            return not _value(inner, look)
        case ast.UnaryOp(operand=inner):
            return -_value(inner, look)
        case ast.BoolOp(op=joint, values=parts):
            every = all if isinstance(joint, ast.And) else any
            return every(_value(each, look) for each in parts)
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return [_value(each, look) for each in parts]
        case ast.Compare(left=left, ops=ops, comparators=others):
            values = [_value(each, look) for each in (left, *others)]
            pairs = zip(ops, pairwise(values), strict=True)
            return all(_COMPARISONS[type(op)](one, other) for op, (one, other) in pairs)
    raise UserError(f"a condition holds {ast.unparse(node)!r}, which has no value")
