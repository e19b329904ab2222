"""The decorator: a function says that it is an operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

_MARK = "__synfire_operator__"

F = TypeVar("F", bound=Callable[..., Any])


def operator(function: F) -> F:
    """Say that the function is an operator: `synfire serve FILE.py` serves it.

    Its parameters are the inputs, by their names, and what it returns is its output, or its outputs where that is a NamedTuple or a
    dataclass. Annotations say what they are: `str`, `bytes`, `bool`, `int`, `float`, a list of one of these, a number of numpy
    (`np.float32`), or an array with its shape, `Annotated[NDArray[np.float32], 3, "points"]`; an axis that has a name instead of a
    size may have any, the same one wherever that name is. A parameter with a default is no input: it keeps that.

    It stays the function that it was, to be called and tested. Raises `UserError`, which names the parameter, for what cannot be an
    input or an output.
    """
    from synfire.functions.signature import (
        signature_of,
    )  # numpy is loaded where a function is declared, not by `import synfire`

    setattr(function, _MARK, signature_of(function))
    return function


def declared(module: object) -> dict[str, Callable[..., Any]]:
    """The operators that a module declares itself, by name, in their order."""
    name = getattr(module, "__name__", "")
    return {
        each: value
        for each, value in vars(module).items()
        if hasattr(value, _MARK) and getattr(value, "__module__", "") == name
    }
