"""Reads what an ONNX file says of itself: its tensors, its operator sets, the files that its weights lie in. Weights are gone past.

Format: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, of which this reads as protocol-buffer fields what is named below. No
package of ONNX is needed for it, and a crafted file costs an error and no more.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from synfire.base.errors import UserError
from synfire.store.files import explained

Buffer = mmap.mmap | bytes

_SERVED = (
    *("float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "bytes"),
    *("bool", "float16", "float64", "uint32", "uint64"),
)
KINDS: Mapping[int, str] = dict(enumerate(_SERVED, start=1))
"""The types of elements that are served, as `synfire.ops.Kind` calls them, by ONNX's numbers."""

_OTHERS = {
    **{14: "complex64", 15: "complex128", 16: "bfloat16", 17: "float8e4m3fn", 18: "float8e4m3fnuz", 19: "float8e5m2"},
    **{20: "float8e5m2fnuz", 21: "uint4", 22: "int4", 23: "float4e2m1", 24: "float8e8m0", 25: "uint2", 26: "int2"},
}
_DEEPEST = 32
"""Graphs within graphs, of conditions and loops."""


class OnnxTensor(NamedTuple):
    """An input or output: −1 in its `shape` where a size may differ, and in `names` what the file calls that axis, if anything."""

    name: str
    kind: str
    shape: tuple[int, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class OnnxFile:
    """A file that was read. `opset` are the sets of operators that it is written in, by domain ("" is ONNX's own); `external` are
    the files beside it that its weights lie in."""

    path: Path
    producer: str
    opset: Mapping[str, int]
    inputs: tuple[OnnxTensor, ...]
    outputs: tuple[OnnxTensor, ...]
    external: tuple[str, ...]


def read_onnx(path: Path) -> OnnxFile:
    """Read and check the structure of an ONNX file.

    Raises `UserError`, naming the file and the byte, for one that is cut off, damaged or no ONNX model, and for tensors of types that
    are not served.
    """
    with explained(path, "read"), path.open("rb") as file:
        if not file.seek(0, 2):
            raise UserError(f"{path} is empty, so it is no ONNX model; {_CURE}")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _model(path, _Span(path, content, 0, len(content)))


class _Field(NamedTuple):
    """A field of a message: its number, and what it holds: a whole number, or the span of bytes that it takes."""

    number: int
    value: int
    span: _Span | None


class _Span(NamedTuple):
    """A part of the file, which holds a message or a text."""

    path: Path
    content: Buffer
    start: int
    end: int

    def fields(self) -> Iterator[_Field]:
        """The message's fields, in order."""
        at = self.start
        while at < self.end:
            tag, at = self._varint(at)
            number, wire = tag >> 3, tag & 7
            if not number or wire not in (0, 1, 2, 5):
                raise self._wrong(at, f"a field of number {number} and type {wire}")
            value, size = 0, {1: 8, 5: 4}.get(wire, 0)
            if wire in (0, 2):
                value, at = self._varint(at)
                size = value if wire == 2 else 0
            if size > self.end - at:
                raise UserError(
                    f"{self.path} is cut off or damaged: field {number} at byte {at} takes {size} bytes, and {self.end - at} are left; "
                    f"{_CURE}"
                )
            yield _Field(number, value, _Span(self.path, self.content, at, at + size) if wire == 2 else None)
            at += size

    def spans(self, *numbers: int) -> Iterator[_Span]:
        """The messages or texts of all fields with those numbers."""
        return (each.span for each in self.fields() if each.number in numbers and each.span is not None)

    def texts(self, number: int) -> Iterator[str]:
        return (each.content[each.start : each.end].decode(errors="replace") for each in self.spans(number))

    def text(self, number: int) -> str:
        return next(self.texts(number), "")

    def whole(self, number: int) -> int:
        """The last whole number of that field; 0 where there is none. Negative ones are as they are."""
        found = [each.value for each in self.fields() if each.number == number and each.span is None]
        return found[-1] - (1 << 64) * (found[-1] >= 1 << 63) if found else 0

    def _varint(self, at: int) -> tuple[int, int]:
        value = shift = 0
        while at < self.end and shift < 64:
            byte = self.content[at]
            value, at, shift = value | (byte & 0x7F) << shift, at + 1, shift + 7
            if byte < 0x80:
                return value & (1 << 64) - 1, at
        raise self._wrong(at, "a number that does not end")

    def _wrong(self, at: int, what: str) -> UserError:
        return UserError(f"{self.path} is cut off, damaged, or no ONNX model: there is {what} at byte {at}; {_CURE}")


_CURE = "copy, download or export the file again"


def _model(path: Path, model: _Span) -> OnnxFile:
    graph = next(model.spans(7), None)
    opset = {_domain(each.text(1)): each.whole(2) for each in model.spans(8)}
    if graph is None or not opset:
        raise UserError(f"{path} is no ONNX model: it holds no {'set of operators' if graph else 'graph'}; {_CURE}")
    weights = set(_weights(graph))  # older files list them among the inputs, too
    return OnnxFile(
        path,
        " ".join(filter(None, (model.text(2), model.text(3)))),
        opset,
        _tensors(path, "input", (each for each in graph.spans(11) if each.text(1) not in weights)),
        _tensors(path, "output", graph.spans(12)),
        tuple(sorted(set(_external(graph)))),
    )


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name


def _weights(graph: _Span) -> Iterator[str]:
    """The names of a graph's own tensors."""
    yield from (each.text(8) for each in graph.spans(5))
    yield from (values.text(8) for each in graph.spans(15) for values in each.spans(1))


def _tensors(path: Path, noun: str, infos: Iterator[_Span]) -> tuple[OnnxTensor, ...]:
    return tuple(_tensor(f"{path}: {noun} {each.text(1)!r}", each) for each in infos)


def _tensor(where: str, info: _Span) -> OnnxTensor:
    dense = next((tensor for kind in info.spans(2) for tensor in kind.spans(1)), None)
    if dense is None:
        raise UserError(
            f"{where} is no tensor but a list, a map or the like, which are not served; export the model without (of "
            "scikit-learn's classifiers with the option zipmap=False)"
        )
    number = dense.whole(1)
    if number not in KINDS:
        raise UserError(
            f"{where} holds {_OTHERS.get(number, f'type {number}')}, and {', '.join(KINDS.values())} are served"
        )
    shape = next(dense.spans(2), None)
    if shape is None:
        raise UserError(
            f"{where} does not say how many axes it has; infer the model's shapes (onnx.shape_inference.infer_shapes) and save it again"
        )
    sizes = [_size(each) for each in shape.spans(1)]
    return OnnxTensor(info.text(1), KINDS[number], tuple(n for n, _ in sizes), tuple(name for _, name in sizes))


def _size(axis: _Span) -> tuple[int, str]:
    """An axis's size, −1 where the file leaves it open, and its name."""
    known = any(each.number == 1 for each in axis.fields())
    return (axis.whole(1) if known else -1), axis.text(2)


def _external(graph: _Span, depth: int = 0) -> Iterator[str]:
    """The files that the tensors of a graph lie in, and those of graphs within it."""
    if depth > _DEEPEST:
        raise UserError(f"{graph.path} has graphs within graphs, more than {_DEEPEST} deep; {_CURE}")
    for tensor in graph.spans(5):
        yield from _location(tensor)
    for node in graph.spans(1):
        for attribute in node.spans(5):
            for tensor in attribute.spans(5, 10):
                yield from _location(tensor)
            for inner in attribute.spans(6, 11):
                yield from _external(inner, depth + 1)


def _location(tensor: _Span) -> Iterator[str]:
    for entry in tensor.spans(13):
        if entry.text(1) == "location":
            yield entry.text(2)
