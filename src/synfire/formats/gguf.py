"""GGUF: what a file of weights for llama.cpp says of itself, read without trust in a single number of it.

    "GGUF" · version · tensor count · pair count · pairs (key, type, value) · tensors (name, shape, type, offset) · padding · data

Every length is checked against the bytes that are there before anything is taken by it, and counts have bounds above what real
files have: a crafted file costs neither memory nor time. llama.cpp's `gguf` package, 0.19, does not hold to that: it takes 466 MB for
2.4 MB of empty strings, and had not ended after a minute with an array that says it has 2⁴⁰ numbers.
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synfire.base.errors import UserError
from synfire.formats.gguf_types import FILE_TYPES, TENSOR_TYPES, TensorType
from synfire.store.files import explained

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT = 32

MOST_PAIRS = 1 << 16
MOST_TENSORS = 1 << 18
MOST_DIMENSIONS = 4
MOST_TEXTS = 1 << 21
"""Strings in all arrays of a file together: the largest vocabularies have 2¹⁸."""
LONGEST_NAME = 1 << 16
LARGEST_HEADER = 1 << 28
"""Bytes before the data; real ones have up to 2²⁵."""
DEEPEST = 4
"""Arrays within arrays."""

_TEXT, _ARRAY = 8, 9
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""The letters of `struct` and numpy for the types of numbers, by their number in the file."""


@dataclass(frozen=True)
class Tensor:
    """A tensor of a file: its `shape`, innermost dimension first as the file has it, and where its bytes are in the file."""

    name: str
    shape: tuple[int, ...]
    type: TensorType
    offset: int
    bytes: int

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Span:
    """Bytes of a file, from `start` to `end`."""

    start: int
    end: int


@dataclass(frozen=True)
class Gguf:
    """What a file says of itself: `metadata`, whose arrays are tuples of strings or arrays of numpy, and `tensors` in its order.

    `pairs` tells where in the file each pair of metadata lies; `alignment` is that of tensors, in bytes.
    """

    path: Path
    version: int
    metadata: Mapping[str, Any]
    tensors: tuple[Tensor, ...]
    alignment: int
    pairs: Mapping[str, Span]

    @property
    def architecture(self) -> str:
        """`llama`, say."""
        return str(self.metadata.get("general.architecture", ""))

    @property
    def is_adapter(self) -> bool:
        """Whether it is an adapter of another model and no model itself."""
        return self.metadata.get("general.type") == "adapter"

    @property
    def parameters(self) -> int:
        """How many numbers all tensors hold."""
        return sum(tensor.elements for tensor in self.tensors)

    @property
    def precision(self) -> str:
        """How most of its numbers are stored: `Q8_0`, `F16`."""
        named = FILE_TYPES.get(self.metadata.get("general.file_type", -1))
        if named:
            return named
        sizes: dict[str, int] = {}
        for tensor in self.tensors:
            sizes[tensor.type.name] = sizes.get(tensor.type.name, 0) + tensor.elements
        return max(sizes, key=sizes.__getitem__, default="")

    @property
    def chat_template(self) -> str | None:
        """The Jinja template of its tokenizer; None for a model without one."""
        found = self.metadata.get("tokenizer.chat_template")
        return found if isinstance(found, str) else None

    @property
    def context_length(self) -> int | None:
        """The tokens that it was trained for."""
        found = self.metadata.get(f"{self.architecture}.context_length")
        return found if isinstance(found, int) else None

    @property
    def split(self) -> tuple[int, int]:
        """Which part of how many this file is: `(0, 1)` for a whole model."""
        number, count = self.metadata.get("split.no", 0), self.metadata.get("split.count", 1)
        whole = isinstance(number, int) and isinstance(count, int) and count > 1
        return (number, count) if whole else (0, 1)


def is_gguf(path: Path) -> bool:
    """Whether the file begins as a GGUF file does."""
    with explained(path, "read"), path.open("rb") as file:
        return file.read(4) == MAGIC


def read_gguf(path: Path) -> Gguf:
    """Read and check the header of a GGUF file, and that its data are all there.

    Raises `UserError`, naming the file, the part and the byte, for a file that is no GGUF, of an unknown version, cut off,
    or damaged.
    """
    with explained(path, "read"), path.open("rb") as file:
        size = file.seek(0, 2)
        if size < 24:
            raise UserError(f"{path} is no GGUF file: it has {size} bytes, and the header alone takes 24")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _read(_Reader(path, content, size))


class _Reader:
    """A place in the file; everything is read through it, within its bounds."""

    def __init__(self, path: Path, content: mmap.mmap, size: int) -> None:
        self.path, self.at, self.size = path, 0, size
        self.order = "<"
        self.texts = 0
        self._content = content

    def take(self, count: int, what: str) -> bytes:
        """The next `count` bytes, which are (in) `what`."""
        start = self.skip(count, what)
        return self._content[start : start + count]

    def skip(self, count: int, what: str) -> int:
        """Go past the next `count` bytes; where they begin."""
        if count > self.size - self.at:
            raise UserError(
                f"{self.path} is cut off or damaged: {what} at byte {self.at} takes {count} bytes, and {self.size - self.at} "
                f"are left; {CURE}"
            )
        start, self.at = self.at, self.at + count
        if self.at > LARGEST_HEADER:
            raise self.wrong(f"its header is longer than {LARGEST_HEADER} bytes, the most that is read")
        return start

    def number(self, letter: str, what: str) -> Any:
        """The next number, of a type as `struct` writes it."""
        (found,) = struct.unpack(self.order + letter, self.take(struct.calcsize(self.order + letter), what))
        return found

    def count(self, what: str, most: int, letter: str = "Q") -> int:
        """The next number, which counts something of which a file has no more than `most`."""
        found: int = self.number(letter, what)
        if found > most:
            raise self.wrong(f"{what} is {found}, and {most} is the most that is read")
        return found

    def text(self, what: str, longest: int | None = None) -> str:
        """The next string."""
        length = self.number("Q", what)
        if longest is not None and length > longest:
            raise self.wrong(f"{what} is {length} bytes long, and {longest} is the most that is read")
        # Vocabularies hold pieces of characters: such bytes are no error.
        return self.take(length, what).decode("utf-8", "surrogateescape")

    def wrong(self, what: str) -> UserError:
        """The error for a file in which `what` is so."""
        return UserError(f"{self.path} is damaged, or no GGUF file: {what} (near byte {self.at}); {CURE}")


CURE = "copy or download the file again, or convert the model again"


def _read(reader: _Reader) -> Gguf:
    version = _version(reader)
    tensors = reader.count("the number of tensors", MOST_TENSORS)
    pairs = reader.count("the number of metadata pairs", MOST_PAIRS)
    metadata, spans = _metadata(reader, pairs)
    alignment = metadata.get("general.alignment", ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1) or alignment > 1 << 20:
        raise reader.wrong(f"general.alignment is {alignment!r}, which is no power of two")
    infos = [_tensor_info(reader) for _ in range(tensors)]
    data = -(-reader.at // alignment) * alignment
    _check_once([name for name, *_ in infos], "tensor", reader)
    found = tuple(_tensor(reader, data, alignment, *info) for info in infos)
    return Gguf(reader.path, version, metadata, found, alignment, spans)


def _version(reader: _Reader) -> int:
    if reader.take(4, "the magic number") != MAGIC:
        raise UserError(f"{reader.path} is no GGUF file: it does not begin with {MAGIC.decode()}; name a .gguf file")
    version: int = reader.number("I", "the version")
    if version not in VERSIONS:
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
        kind = "a file for big-endian machines" if swapped in VERSIONS else f"GGUF version {version}"
        raise UserError(
            f"{reader.path} is {kind}, and versions {VERSIONS[0]} and {VERSIONS[-1]} for little-endian machines are read; "
            "convert the model again"
        )
    return version


def _metadata(reader: _Reader, pairs: int) -> tuple[dict[str, Any], dict[str, Span]]:
    metadata: dict[str, Any] = {}
    spans: dict[str, Span] = {}
    for _ in range(pairs):
        start = reader.at
        key = reader.text("a metadata key", LONGEST_NAME)
        if key in metadata:
            raise reader.wrong(f"the metadata have {key!r} twice")
        metadata[key] = _value(reader, reader.number("I", f"the type of {key!r}"), f"the value of {key!r}", 0)
        spans[key] = Span(start, reader.at)
    return metadata, spans


def _value(reader: _Reader, kind: int, what: str, depth: int) -> Any:
    if kind in _NUMBERS:
        return reader.number(_NUMBERS[kind], what)
    if kind == _TEXT:
        return reader.text(what)
    if kind == _ARRAY and depth < DEEPEST:
        return _array(reader, what, depth)
    raise reader.wrong(f"{what} has the type {kind}" + (f" at depth {depth}" if kind == _ARRAY else ""))


def _array(reader: _Reader, what: str, depth: int) -> Any:
    kind: int = reader.number("I", what)
    if kind in _NUMBERS:
        width = struct.calcsize("<" + _NUMBERS[kind])
        count = reader.count(f"the length of {what}", (reader.size - reader.at) // width)
        return np.frombuffer(reader.take(count * width, what), "<" + _NUMBERS[kind])
    count = reader.count(f"the length of {what}", MOST_TEXTS - reader.texts)
    reader.texts += count
    return tuple(_value(reader, kind, what, depth + 1) for _ in range(count))


def _tensor_info(reader: _Reader) -> tuple[str, tuple[int, ...], int, int]:
    name = reader.text("a tensor's name", LONGEST_NAME)
    what = f"tensor {name!r}"
    dimensions = reader.count(f"the number of dimensions of {what}", MOST_DIMENSIONS, "I")
    shape = tuple(reader.number("Q", f"the shape of {what}") for _ in range(dimensions))
    return name, shape, reader.number("I", f"the type of {what}"), reader.number("Q", f"the offset of {what}")


def _tensor(
    reader: _Reader, data: int, alignment: int, name: str, shape: tuple[int, ...], kind: int, offset: int
) -> Tensor:
    known = TENSOR_TYPES.get(kind)
    if known is None:
        raise reader.wrong(f"tensor {name!r} has the type {kind}, which is none of those that are known")
    elements = math.prod(shape)
    row = shape[0] if shape else 1
    if elements < 1 or row % known.block or offset % alignment:
        raise reader.wrong(
            f"tensor {name!r} of type {known.name} has the shape {shape} at offset {offset}; "
            f"rows are multiples of {known.block}, offsets of {alignment}"
        )
    size = elements // known.block * known.bytes
    if data + offset + size > reader.size:
        raise UserError(
            f"{reader.path} is cut off: tensor {name!r} ends at byte {data + offset + size}, and the file has {reader.size}; "
            f"{CURE}"
        )
    return Tensor(name, shape, known, data + offset, size)


def _check_once(names: Sequence[str], noun: str, reader: _Reader) -> None:
    for name in _twice(names):
        raise reader.wrong(f"it has the {noun} {name!r} twice")


def _twice(names: Sequence[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            yield name
        seen.add(name)
