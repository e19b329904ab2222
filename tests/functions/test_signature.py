"""Annotations say what a function takes and gives; what they cannot say is refused by the name of the parameter."""

from __future__ import annotations

import dataclasses
from types import ModuleType
from typing import Annotated, Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from synfire import operator
from synfire.base.errors import UserError
from synfire.functions.declaring import declared
from synfire.functions.signature import Signature, signature_of


class Record(NamedTuple):
    text: str
    sure: np.float32


@dataclasses.dataclass
class Point:
    x: float
    y: float


def plain(a: str, b: bytes, c: bool, d: int, e: float, f: np.int8) -> str:
    return f"{a!r} {b!r} {c!r} {d!r} {e!r} {f!r}"


def lists(a: list[str], b: list[int], c: list[float], d: list[bool], e: list[bytes]) -> list[str]:
    return [repr(each) for each in (a, b, c, d, e)]


def arrays(x: Annotated[NDArray[np.float32], 2, "n"], y: Annotated[NDArray[np.uint8], "n"]) -> Record:
    return Record(str(x.shape), np.float32(y.sum()))


def kept(x: int, factor: int = 3) -> int:
    return x * factor


def called(function: Any, **inputs: Any) -> dict[str, Any]:
    """What a call gives, from arrays to arrays, as the function's process does it."""
    signature = signature_of(function)
    axes: dict[str, int] = {}
    given = {name: _array(value) for name, value in inputs.items()}
    found = signature.outputs(function(**signature.arguments(given, axes)), axes)
    return {name: array.tolist() for name, array in found.items()}


def _array(value: Any) -> Any:
    if not isinstance(value, (list, bytes)):
        return np.asarray(value)
    texts = isinstance(value, bytes) or any(isinstance(each, bytes) for each in value)
    return np.array(value, object) if texts else np.asarray(value)


def told(signature: Signature) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(each.name, each.kind, each.sizes) for each in (*signature.takes, *signature.gives)]


def test_plain_values_are_scalars_and_come_as_python_has_them() -> None:
    kinds = ["bytes", "bytes", "bool", "int64", "float64", "int8", "bytes"]
    assert [kind for _, kind, _ in told(signature_of(plain))] == kinds
    assert {shape for *_, shape in told(signature_of(plain))} == {()}
    given = {"a": "ß".encode(), "b": b"\xff", "c": True, "d": 3, "e": 0.5, "f": np.int8(-1)}
    assert called(plain, **given) == {"output": "'ß' b'\\xff' True 3 0.5 np.int8(-1)".encode()}


def test_lists_have_one_open_axis() -> None:
    assert {shape for *_, shape in told(signature_of(lists))} == {(-1,)}
    given = {"a": [b"x", b"y"], "b": [1, 2], "c": [0.5], "d": [True], "e": [b"z"]}
    found = [b"['x', 'y']", b"[1, 2]", b"[0.5]", b"[True]", b"[b'z']"]
    assert called(lists, **given) == {"output": found}


def test_arrays_have_their_shape_and_the_fields_of_a_record_are_outputs() -> None:
    assert told(signature_of(arrays)) == [
        ("x", "float32", (2, -1)),
        ("y", "uint8", (-1,)),
        ("text", "bytes", ()),
        ("sure", "float32", ()),
    ]
    found = called(arrays, x=np.ones((2, 3), np.float32), y=np.arange(3, dtype=np.uint8))
    assert found == {"text": b"(2, 3)", "sure": 3.0}


def test_the_fields_of_a_dataclass_are_outputs_too() -> None:
    def moved(x: float) -> Point:
        return Point(x, 2)

    assert called(moved, x=0.5) == {"x": 0.5, "y": 2.0}


def test_axes_of_one_name_have_one_size() -> None:
    with pytest.raises(UserError, match="axis 'n' is 4 in 'y', and 3 elsewhere; make them equal"):
        called(arrays, x=np.ones((2, 3), np.float32), y=np.arange(4, dtype=np.uint8))


def test_a_parameter_with_a_default_keeps_it() -> None:
    assert told(signature_of(kept)) == [("x", "int64", ()), ("output", "int64", ())]
    assert called(kept, x=2) == {"output": 6}


def test_text_that_is_none_is_the_callers_mistake() -> None:
    with pytest.raises(UserError, match=r"input 'a' is no UTF-8 .* send it in that encoding"):
        called(plain, a=b"\xff", b=b"", c=True, d=1, e=1.0, f=np.int8(0))


def no_hint(x) -> int:  # type: ignore[no-untyped-def]
    return 1


def no_return(x: int):  # type: ignore[no-untyped-def]
    return x


def no_shape(x: NDArray[np.float32]) -> int:
    return 1


def no_axis(x: Annotated[NDArray[np.float32], 2.5]) -> int:
    return 1


def no_format(x: Annotated[NDArray[np.complex64], 2]) -> int:
    return 1


def a_dictionary(x: dict[str, int]) -> int:
    return 1


def many(*x: int) -> int:
    return 1


def none() -> int:
    return 1


def pieces(x: int) -> Any:
    yield x


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (no_hint, "no_hint, parameter 'x' has no annotation; say what it is: str"),
        (no_return, "no_return, its return value has no annotation"),
        (no_shape, "no_shape, parameter 'x' is an array without a shape; say it: Annotated"),
        (no_axis, "no_axis, parameter 'x': 2.5 is no axis; give its size, or a name"),
        (no_format, "no_format, parameter 'x' is of complex64, and these are served: bool, int8"),
        (a_dictionary, "a_dictionary, parameter 'x' is dict.*, which cannot travel; it may be str"),
        (many, r"many, parameter \*x: 'int': inputs go by their names; write them one by one"),
        (none, "none takes no input, so there is nothing to ask it; give it a parameter without a default"),
        (pieces, "pieces is a generator, and an answer is given whole; return a list"),
        (Point, "operator Point is no function; write one with def"),
    ],
)
def test_what_cannot_travel_is_refused_by_its_name(function: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        signature_of(function)


@pytest.mark.parametrize(
    ("hint", "value", "words"),
    [
        (str, 3, "'output' came as int, and its annotation says str"),
        (list[str], "ab", "'output' came as str, and its annotation says list of str"),
        (list[str], [b"a"], "'output' came as list of bytes"),
        (int, 0.5, "'output' came as float, and its annotation says int64"),
        (np.float32, 0.5, "'output' came as float, and its annotation says float32"),
        (Annotated[NDArray[np.float32], 2], np.zeros(2), "came as an array of float64, .* convert it with .astype"),
        (Annotated[NDArray[np.float64], 2], np.zeros(3), r"came with the shape \[3\], and its annotation says \[2\]"),
        (Record, 3, "it gave int, and its annotation says a record of text, sure"),
    ],
)
def test_a_value_that_is_not_as_annotated_is_told(hint: Any, value: Any, words: str) -> None:
    def function(x: int) -> Any:
        return value

    function.__annotations__["return"] = hint
    with pytest.raises(TypeError, match=words):
        called(function, x=1)


def test_a_declared_function_stays_the_function_that_it_was() -> None:
    assert operator(kept) is kept
    assert kept(2, factor=5) == 10


def test_a_module_declares_what_it_defines_and_nothing_that_it_imports() -> None:
    mine, other = ModuleType(kept.__module__), ModuleType("other")
    vars(mine).update(mine=operator(kept), undeclared=plain)
    vars(other).update(imported=operator(kept))
    assert list(declared(mine)) == ["mine"]
    assert not declared(other)
