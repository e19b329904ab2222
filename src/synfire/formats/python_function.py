"""A Python file as a graph: one of the functions that it declares, one operator for each of its outputs."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from synfire.base.errors import UserError
from synfire.formats.format import FORMATS, Format
from synfire.formats.weights import digest_of
from synfire.functions.describing import described
from synfire.graph import Graph, Synapse, flatten
from synfire.ops.python_function import PythonFunction
from synfire.ops.tensor_model import Tensor

MODULE = "describing"


class PythonFile(Format):
    """Functions of the user's own, declared by `synfire.operator`: each runs in a process of its own."""

    name = "python"
    looks_like = "a .py file with a function that is declared an @operator, or FILE.py:NAME for one of several"

    def recognises(self, path: Path) -> bool:
        file, _ = divided(path)
        return file.suffix == ".py" and file.is_file()

    def read(self, path: Path) -> Graph:
        """The function, with its parameters as inputs and what it returns as outputs.

        The file is loaded, in a process of its own, by the Python that functions are run by. Raises `UserError` for one that cannot be
        loaded, for what its annotations do not say, and where it is not clear which function is meant.
        """
        file, function = divided(path.absolute())
        said = described({"module": MODULE, "path": str(file), "function": function})
        return function_graph(file, said["function"], said)


def function_graph(
    file: Path, function: str, said: Mapping[str, Any], triton: str = "", batched: bool = False
) -> Graph:
    """What a process that describes says of a function, as a graph: what it `takes` and `gives`, and the `files` that it is made of."""
    takes, gives = _tensors(said["takes"]), _tensors(said["gives"])
    files = tuple((str(each.relative_to(file.parent)), digest_of(each)) for each in _files(file, said["files"]))
    inputs = [name for name, *_ in takes]
    overlapping = said.get("overlapping", False)
    made = (
        PythonFunction(function, str(file.parent), files, takes, each, triton, batched, overlapping) for each in gives
    )
    operators = {operator_name(each.gives[0], inputs): each for each in made}
    one = next(iter(operators.values()))
    synapses = tuple(Synapse(name, target, port) for target in operators for port, name in enumerate(inputs))
    signals = dict(zip(inputs, one.signals(), strict=True))
    outputs = {gives[number][0]: name for number, name in enumerate(operators)}
    return Graph(operators, synapses, signals, outputs, {"python": {"function": function}})


def check_no_code(graph: Graph, where: str) -> None:
    """Raise `UserError` for a graph with a function, where it comes from elsewhere than the function's own file.

    Code is run that whoever serves has named himself, and no other.
    """
    held = [each.function for each in flatten(graph).operators.values() if isinstance(each, PythonFunction)]
    if held:
        raise UserError(
            f"{where} has the Python function {held[0]}, which is only ever run from a file that is named; serve that file instead"
        )


def divided(path: Path) -> tuple[Path, str]:
    """The file, and the function in it that is named behind a colon; empty where none is."""
    name, colon, function = path.name.rpartition(":")
    return (path.with_name(name), function) if colon and name.endswith(".py") else (path, "")


def _files(file: Path, beside: list[str]) -> list[Path]:
    return [file, *(Path(each) for each in beside if Path(each) != file)]


def _tensors(told: Any) -> tuple[Tensor, ...]:
    return tuple((name, kind, tuple(shape)) for name, kind, shape in told)


def operator_name(output: str, taken: Collection[str]) -> str:
    """A name that an operator may have, and that no input has."""
    found = re.sub(r"[^A-Za-z0-9._-]", "_", output)
    while found in taken:
        found += "_"
    return found


FORMATS.add(PythonFile.name, PythonFile())
