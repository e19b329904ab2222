"""A GGUF file with its weights in fewer bits, block by block, as ggml's reference has it.

    Q8_0   d = max|x| ÷ 127                      q = round(x ÷ d)
    Q5_0   d = −x₀ ÷ 16, x₀ of greatest |x|      q = ⌊x ÷ d + 16.5⌋, at most 31
    Q4_0   d = −x₀ ÷ 8                           q = ⌊x ÷ d + 8.5⌋, at most 15

Each block is 32 numbers with one scale d in half precision. Matrices are quantised; vectors, routers and positions stay as they are, and
so does what a file cannot hold in blocks, as float16. The last matrix, which makes the tokens' scores, has at least 8 bits. llama.cpp's own
tool is in no wheel of it, and `gguf`, which has the same formulas, reads files with trust (see `synfire.formats.gguf`).
https://github.com/ggml-org/ggml/blob/master/src/ggml-quants.c
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synfire.base.errors import UnknownName, UserError
from synfire.formats.gguf import MAGIC, Gguf, Tensor, read_gguf
from synfire.formats.gguf_types import FILE_TYPES, TENSOR_TYPES, TensorType
from synfire.store.files import explained

Array = NDArray[Any]

BLOCK = 32
PRECISIONS = ("F16", "BF16", "Q8_0", "Q5_0", "Q4_0")
"""What weights can be made, the most exact first."""

_SOURCES = ("F32", "F16", "BF16")
_STAY = ("ffn_gate_inp", "position_embd", "token_types", "ssm_conv1d", "rope_freqs")
_FILE_TYPE, _VERSION = "general.file_type", "general.quantization_version"
_VERSION_NOW, _U32 = 2, 4
_PIECE = 1 << 22
"""Numbers at a time: some MB of memory, whatever the file's size."""

_TYPES = {each.name: each for each in TENSOR_TYPES.values()}

_HALF = float(np.finfo(np.float16).max)
_MOST = {"F16": _HALF, "BF16": 3.3895e38, "Q8_0": 127 * _HALF, "Q5_0": 16 * _HALF, "Q4_0": 8 * _HALF}
"""The greatest numbers that each precision holds: those of blocks have a scale in half precision."""


@dataclass(frozen=True)
class Planned:
    """A tensor, and the type that it is to have."""

    tensor: Tensor
    type: TensorType

    @property
    def bytes(self) -> int:
        """How long it is then."""
        return self.tensor.elements // self.type.block * self.type.bytes


def quantize(path: Path, precision: str, write: Callable[[bytes], object]) -> None:
    """Write the file with its matrices in another `precision`.

    Raises `UserError` for a damaged file, an adapter, a part of several, and one whose weights have few bits already;
    `UnknownName` for a precision that is none of `PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise UnknownName.among("precision", precision, PRECISIONS)
    file = read_gguf(path)
    _check(file)
    planned = planned_types(file, precision)
    header = _header(file, planned, precision)
    write(header + bytes(-len(header) % file.alignment))
    with explained(path, "read"), path.open("rb") as content:
        for each in planned:
            for piece in _converted(each, content.fileno()):
                write(piece)
            write(bytes(-each.bytes % file.alignment))


def planned_types(file: Gguf, precision: str) -> list[Planned]:
    """The type of each tensor then."""
    names = {each.name for each in file.tensors}
    last = "output.weight" if "output.weight" in names else "token_embd.weight"
    return [Planned(each, _type_of(each, precision, each.name == last)) for each in file.tensors]


def encoded(numbers: Array, precision: str) -> bytes:
    """Numbers, as many as whole blocks hold, as a file stores them."""
    return _ENCODERS[precision](np.ascontiguousarray(numbers, np.float32))


def decoded(content: bytes, kind: TensorType) -> Array:
    """The numbers of an unquantised tensor, float32."""
    if kind.name == "BF16":
        return (np.frombuffer(content, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(content, {"F32": "<f4", "F16": "<f2"}[kind.name]).astype(np.float32)


def _check(file: Gguf) -> None:
    if file.is_adapter:
        raise UserError(f"{file.path} is an adapter, which is small as it is; quantise the model that it belongs to")
    if file.split[1] > 1:
        raise UserError(
            f"{file.path} is part {file.split[0] + 1} of {file.split[1]}; join them with `synfire pull` first"
        )
    few = sorted({each.type.name for each in file.tensors if each.type.name not in _SOURCES and len(each.shape) > 1})
    if few:
        raise UserError(
            f"{file.path} has weights of few bits already ({', '.join(few)}), of which no good ones of fewer can be made; begin with the "
            f"file in {' or '.join(_SOURCES)}"
        )


def _type_of(tensor: Tensor, precision: str, last: bool) -> TensorType:
    if len(tensor.shape) < 2 or not tensor.name.endswith("weight") or any(each in tensor.name for each in _STAY):
        return tensor.type
    if last and precision in ("Q5_0", "Q4_0"):
        precision = "Q8_0"
    return _TYPES["F16" if tensor.shape[0] % _TYPES[precision].block else precision]


def _header(file: Gguf, planned: list[Planned], precision: str) -> bytes:
    """The metadata as they are, but for what tells of the precision, and the table of tensors."""
    number = next(number for number, name in FILE_TYPES.items() if name == precision)
    with explained(file.path, "read"), file.path.open("rb") as content:
        kept = [
            _read(content.fileno(), span.start, span.end)
            for key, span in file.pairs.items()
            if key not in (_FILE_TYPE, _VERSION)
        ]
    pairs = [*kept, _pair(_FILE_TYPE, number), _pair(_VERSION, _VERSION_NOW)]
    infos, offset = [], 0
    for each in planned:
        name = each.tensor.name.encode("utf-8", "surrogateescape")
        shape = struct.pack(f"<I{len(each.tensor.shape)}Q", len(each.tensor.shape), *each.tensor.shape)
        infos.append(struct.pack("<Q", len(name)) + name + shape + struct.pack("<IQ", each.type.number, offset))
        offset += each.bytes + -each.bytes % file.alignment
    counts = struct.pack("<IQQ", file.version, len(planned), len(pairs))
    return MAGIC + counts + b"".join(pairs) + b"".join(infos)


def _pair(key: str, value: int) -> bytes:
    return struct.pack("<Q", len(key)) + key.encode() + struct.pack("<II", _U32, value)


def _converted(planned: Planned, handle: int) -> Iterator[bytes]:
    """The tensor's bytes in its new type."""
    tensor, size = planned.tensor, planned.tensor.type.bytes
    step = _PIECE * size if planned.type is not tensor.type else _PIECE
    for start in range(tensor.offset, tensor.offset + tensor.bytes, step):
        content = _read(handle, start, min(start + step, tensor.offset + tensor.bytes))
        if planned.type is tensor.type:
            yield content
            continue
        numbers = decoded(content, tensor.type)
        _check_range(tensor.name, numbers, planned.type.name)
        yield encoded(numbers, planned.type.name)


def _check_range(name: str, numbers: Array, precision: str) -> None:
    """Raise `UserError` for what would be something else afterwards, or is no number as it is."""
    greatest = float(np.abs(numbers).max(initial=0))
    if not greatest <= _MOST[precision]:
        raise UserError(
            f"{name} holds {greatest:g}, and {precision} numbers up to {_MOST[precision]:g} alone; choose another precision, or get a file that "
            "is whole"
        )


def _read(handle: int, start: int, end: int) -> bytes:
    pieces = []
    while start < end:
        piece = os.pread(handle, end - start, start)
        if not piece:
            raise UserError("the file became shorter while it was read; get it again")
        pieces.append(piece)
        start += len(piece)
    return b"".join(pieces)


def _f16(numbers: Array) -> bytes:
    return numbers.astype("<f2").tobytes()


def _bf16(numbers: Array) -> bytes:
    """Rounded to the nearest, and to the even one of two."""
    bits = numbers.view(np.uint32)
    return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype("<u2").tobytes()


def _q8_0(numbers: Array) -> bytes:
    blocks = numbers.reshape(-1, BLOCK)
    scale = np.abs(blocks).max(1, keepdims=True) / np.float32(127)
    found = blocks * _inverse(scale)
    rounded = np.trunc(np.abs(found) + np.float32(0.5)) * np.sign(found)  # halves away from zero, as C rounds
    return _joined(scale, rounded.astype(np.int8).view(np.uint8))


def _q5_0(numbers: Array) -> bytes:
    scale, found = _signed(numbers, 16)
    high = np.packbits((found >> 4) & 1, axis=1, bitorder="little")
    return _joined(scale, high, _nibbles(found & 15))


def _q4_0(numbers: Array) -> bytes:
    scale, found = _signed(numbers, 8)
    return _joined(scale, _nibbles(found))


def _signed(numbers: Array, half: int) -> tuple[Array, Array]:
    """Scales by which the number of greatest size in each block is −`half`, and the numbers by them, from 0 up."""
    blocks = numbers.reshape(-1, BLOCK)
    greatest = np.take_along_axis(blocks, np.abs(blocks).argmax(1)[:, None], 1)
    scale = greatest / np.float32(-half)
    found = (blocks * _inverse(scale) + np.float32(half + 0.5)).astype(np.int8)
    return scale, np.minimum(found, 2 * half - 1).astype(np.uint8)


def _inverse(scale: Array) -> Array:
    """One by each scale; 0 where that is too much for a number: such a scale is 0 in half precision, and so is whatever it is multiplied by."""
    with np.errstate(divide="ignore", over="ignore"):
        found = np.float32(1) / scale
    return np.where(np.isfinite(found), found, np.float32(0))


def _nibbles(found: Array) -> Array:
    """The first half of each block in the low four bits, the second in the high ones."""
    return found[:, : BLOCK // 2] | (found[:, BLOCK // 2 :] << 4)


def _joined(scale: Array, *parts: Array) -> bytes:
    """Each block: its scale in half precision, and its numbers."""
    return np.concatenate([scale.astype("<f2").view(np.uint8), *parts], axis=1).tobytes()


_ENCODERS: dict[str, Callable[[Array], bytes]] = {
    "F16": _f16, "BF16": _bf16, "Q8_0": _q8_0, "Q5_0": _q5_0, "Q4_0": _q4_0,
}  # fmt: skip
