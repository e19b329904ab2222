"""An ONNX file as a graph: the whole model, one operator for each output."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from synfire.base.errors import UserError
from synfire.formats.format import FORMATS, Format
from synfire.formats.onnx_file import OnnxTensor, read_onnx
from synfire.formats.weights import digest_of
from synfire.graph import Graph, Synapse
from synfire.ops.onnx_model import OnnxModel
from synfire.ops.tensor_model import Tensor


class Onnx(Format):
    """Models of other frameworks, in ONNX: run whole, by an engine for it, and served as any model."""

    name = "onnx"
    looks_like = "a .onnx file"

    def recognises(self, path: Path) -> bool:
        return path.is_file() and path.suffix.lower() == ".onnx"

    def read(self, path: Path) -> Graph:
        """The model, one operator for each output, all with all inputs. Inputs and outputs have the file's names, a / in that of an
        input as a dot.

        Samples are computed together where the first axis of every tensor is open, and means the same by its name, and no other is.

        Raises `UserError` for a damaged file, tensors of types that are not served, and weights beside it that are missing.
        """
        file = read_onnx(path)
        files = [path, *(_beside(path, name) for name in file.external)]
        weights = tuple((each.relative_to(path.parent).as_posix(), digest_of(each)) for each in files)
        batched = _batched((*file.inputs, *file.outputs))
        size, count = sum(each.stat().st_size for each in files), len(file.outputs)
        takes, opset = tuple(map(_plain, file.inputs)), tuple(sorted(file.opset.items()))
        operators: dict[str, OnnxModel] = {}
        outputs: dict[str, str] = {}
        inputs = [each.name.replace("/", ".") for each in file.inputs]
        for number, each in enumerate(file.outputs):
            share = size // count + (number < size % count)
            outputs[each.name] = name = _operator(each.name, {*inputs, *operators})
            operators[name] = OnnxModel(weights, share, takes, _plain(each), opset, batched)
        one = next(iter(operators.values()), None)
        if one is None:
            raise UserError(f"{path} has no output, so there is nothing to serve; export the model again")
        synapses = tuple(Synapse(x, name, port) for name in operators for port, x in enumerate(inputs))
        signals = dict(zip(inputs, one.signals(), strict=True))
        return Graph(operators, synapses, signals, outputs, {"onnx": {"producer": file.producer}})


def _plain(tensor: OnnxTensor) -> Tensor:
    return tensor.name, tensor.kind, tensor.shape


def _batched(tensors: Sequence[OnnxTensor]) -> bool:
    names = {each.names[0] for each in tensors if each.shape and each.names[0]}
    return len(names) <= 1 and all(each.shape[:1] == (-1,) and -1 not in each.shape[1:] for each in tensors)


def _operator(name: str, taken: set[str]) -> str:
    """A name that an operator may have, and that none of those has."""
    found = re.sub(r"[^A-Za-z0-9._-]", "_", name) or "model"
    while found in taken:
        found += "_"
    return found


def _beside(path: Path, name: str) -> Path:
    """A file with weights of the model at `path`. Raises `UserError` for one that is missing, or lies elsewhere."""
    found = path.parent / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise UserError(
            f"{path} has weights in {name}, outside its own folder, which is not read; save the model again"
        )
    if not found.is_file():
        raise UserError(f"{path} has weights in {name}, and there is no such file beside it; copy it there")
    return found


FORMATS.add(Onnx.name, Onnx())
