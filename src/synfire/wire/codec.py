"""Arrays as bytes: of several encodings the best is chosen, array by array, and every one is exact to the bit.

    encoding   carries                                     bytes, for N numbers of which n are not zero
    dense      anything with a fixed size                  N · itemsize, little-endian, C order
    narrow     integers within a narrower dtype            N · narrow itemsize
    bitmap     spikes (0 and 1 in uint8)                   ⌈N / 8⌉
    gaps       spikes                                      n + Σ ⌊gap / 255⌋, or 2 n + 2 Σ ⌊gap / 65535⌋
    sparse     counts and values of which most are zero    gaps, then n · (narrow) itemsize
    blobs      `bytes` objects                             4 + length each

`gaps` lists, in ascending order of index, how many zeros lie before each spike; the highest number of a gap's width
means "that many zeros, and go on". An address list needs ⌈log₂ N⌉ bits a spike, so against one bit a neuron it breaks
even at a density of 1 / ⌈log₂ N⌉ (`address_break_even`); a gap mostly fits 8 bits however large N is, so gaps break even
at about 1/8. A float's −0.0 has a set bit and so counts as not zero.

Between hosts the best is the smallest. On one host bytes cost next to nothing beside the time to count zeros, so for a peer
who is `near` only what is almost all zero becomes a list (`NEAR_DENSITY`).

Decoding trusts nothing: lengths, counts and indices are checked, and the decoded size is bounded before it is allocated.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import numpy as np

from synfire.base.errors import UserError
from synfire.base.later import Later
from synfire.ops import Array

DENSE, NARROW, BITMAP, GAPS8, GAPS16, SPARSE8, SPARSE16, BLOBS = (
    "dense",
    "narrow",
    "bitmap",
    "gaps8",
    "gaps16",
    "sparse8",
    "sparse16",
    "blobs",
)

DTYPES: dict[str, np.dtype[Any]] = {
    "b1": np.dtype(np.bool_),
    **{name: np.dtype(f"<{name}") for name in ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8")},
    "O": np.dtype(object),
}
"""The dtypes that travel, by the name they have in a header."""

_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_GAP_BYTES = {GAPS8: 1, GAPS16: 2, SPARSE8: 1, SPARSE16: 2}
_BITS: dict[int, np.dtype[Any]] = {1: np.dtype("u1"), 2: np.dtype("<u2"), 4: np.dtype("<u4"), 8: np.dtype("<u8")}
_LENGTH = struct.Struct("<I")

_gaps = Later("synfire.wire.gaps")
"""Compiled, by a compiler that takes half a second to load: whoever knows a few messages alone, as a supervisor or the agent of a worker that
joins, does without."""


class Tensor(msgspec.Struct, frozen=True, array_like=True):
    """How one array of a frame is encoded: what `decode` needs beside the bytes. `values` is a narrower dtype, or empty."""

    name: str
    encoding: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int
    count: int = 0
    values: str = ""


Encoded = tuple[Tensor, bytes | memoryview]
"""A header and its payload."""

NEAR_DENSITY = 1 / 256
"""Below it a list takes less time than a bitmap or dense numbers, however few its bytes: measured with 10⁴ to 10⁶ spikes."""


def warm() -> None:
    """Load what arrays are encoded and decoded by, or compile it, which the first array would else wait for."""
    _gaps.warm()


def address_break_even(neurons: int) -> float:
    """The spike density at which a list of ⌈log₂ N⌉-bit addresses is as long as a bitmap of N bits."""
    return 1 / max(1, math.ceil(math.log2(max(2, neurons))))


def encode(name: str, array: Array, near: bool = False) -> Encoded:
    """The best encoding of `array` for a peer on another host, or a `near` one, exact to the bit, and its header."""
    dtype = array.dtype
    if dtype.hasobject:
        return _encode_blobs(name, array)
    if dtype not in _NAMES or not array.flags.c_contiguous:
        array = np.asarray(array, dtype.newbyteorder("<"), order="C")
        dtype = array.dtype
    if dtype not in _NAMES:
        raise UserError(f"{name!r} is of dtype {dtype}, which does not travel; use one of {sorted(DTYPES)}")
    flat = array.reshape(-1)
    if flat.size == 0:
        return _tensor(name, DENSE, array, b"")
    marks = np.empty((flat.size + 63) // 64 * 8, np.uint8)
    count, binary = _gaps.mark(_bytes(flat), flat.itemsize, marks)
    places = _Places(marks, count, flat.size, near)
    if binary and dtype == np.uint8:
        return _encode_spikes(name, array, places)
    return _encode_numbers(name, array, flat, places)


def encode_dense(name: str, array: Array) -> Encoded:
    """The array as it lies in memory. A checkpoint for a near peer is: most are never read, and looking for zeros takes longer than sending them."""
    if array.dtype not in _NAMES or array.dtype.hasobject or not array.flags.c_contiguous:
        return encode(name, array, near=True)
    return _tensor(name, DENSE, array, array.reshape(-1).view(np.uint8).data)


def decode(tensor: Tensor, payload: bytes | bytearray | memoryview, max_bytes: int = 1 << 31) -> Array:
    """The array that `encode` was given.

    Raises `UserError` for a payload that is cut off, too long, or contradicts its header, and for an array of more than
    `max_bytes`.
    """
    dtype = _known_dtype(tensor.dtype, tensor)
    size = _size(tensor, dtype, max_bytes)
    if len(payload) != tensor.bytes:
        raise UserError(
            f"{_where(tensor)}: its header says {tensor.bytes} bytes, but {len(payload)} came; the frame is damaged"
        )
    reader = _DECODERS.get(tensor.encoding)
    if reader is None:
        raise UserError(
            f"{_where(tensor)}: unknown encoding; known: {', '.join(_DECODERS)}. Do both sides run the same version?"
        )
    return reader(tensor, memoryview(payload), dtype, size).reshape(tensor.shape)


def _where(tensor: Tensor) -> str:
    return f"tensor {tensor.name!r} ({tensor.encoding})"


class _Places(NamedTuple):
    """Which of `size` numbers are not zero: their marks, and how many there are."""

    marks: Array
    number: int
    size: int
    near: bool

    def gaps(self, below: int) -> tuple[Array, int] | None:
        """The places as a gap list of fewer than `below` bytes, and the width of a gap; None where that is not worth it."""
        if self.number >= below or (self.near and self.number > self.size * NEAR_DENSITY):
            return None
        width = 1
        if self.number * 255 < self.size:  # else no list can be shorter at 16 bits
            eight, sixteen = _gaps.gap_bytes(self.marks)
            below, width = min(below, min(eight, sixteen) + 1), 1 if eight <= sixteen else 2
        gaps = np.empty(below - 1, np.uint8)
        length = _gaps.write_gaps(self.marks, width, gaps)
        return None if length < 0 else (gaps[:length], width)


def _encode_spikes(name: str, array: Array, places: _Places) -> Encoded:
    bitmap_bytes = (places.size + 7) // 8
    found = places.gaps(bitmap_bytes)
    if found is None:
        return _tensor(name, BITMAP, array, places.marks[:bitmap_bytes].data, places.number)
    gaps, width = found
    return _tensor(name, (GAPS8, GAPS16)[width - 1], array, gaps.data, places.number)


def _encode_numbers(name: str, array: Array, flat: Array, places: _Places) -> Encoded:
    narrow = _narrow(flat)
    found = places.gaps((flat.size - places.number) * narrow.itemsize)
    if found is not None:
        gaps, width = found
        some = flat.view(_BITS[flat.itemsize]) != 0
        payload = gaps.tobytes() + flat[some].astype(narrow).tobytes()
        return _tensor(name, (SPARSE8, SPARSE16)[width - 1], array, payload, places.number, _NAMES[narrow])
    if narrow.itemsize < flat.itemsize:
        return _tensor(name, NARROW, array, flat.astype(narrow).data.cast("B"), places.number, _NAMES[narrow])
    return _tensor(name, DENSE, array, flat.view(np.uint8).data, places.number)


def _encode_blobs(name: str, array: Array) -> tuple[Tensor, bytes]:
    parts: list[bytes] = []
    for each in array.reshape(-1).tolist():
        if not isinstance(each, bytes):
            raise UserError(f"{name!r} holds a {type(each).__name__} where only bytes travel")
        parts += (_LENGTH.pack(len(each)), each)
    payload = b"".join(parts)
    return Tensor(name, BLOBS, "O", array.shape, len(payload), array.size), payload


def _tensor(
    name: str, encoding: str, array: Array, payload: bytes | memoryview, count: int = 0, values: str = ""
) -> Encoded:
    return Tensor(name, encoding, _NAMES[array.dtype], array.shape, len(payload), count, values), payload


def _narrow(flat: Array) -> np.dtype[Any]:
    """The narrowest integer dtype that holds every number of `flat`; its own where it is no wide integer."""
    if flat.dtype.kind not in "iu" or flat.itemsize == 1:
        return flat.dtype
    low, high = int(flat.min()), int(flat.max())
    kinds = ("u1", "u2", "u4") if low >= 0 else ("i1", "i2", "i4")
    for kind in kinds:
        limits = np.iinfo(DTYPES[kind])
        if limits.min <= low and high <= limits.max and DTYPES[kind].itemsize < flat.itemsize:
            return DTYPES[kind]
    return flat.dtype


def _bytes(flat: Array | memoryview) -> Array:
    """The bytes of a flat array, read-only, as the compiled kernels take them."""
    data = flat.view(np.uint8) if isinstance(flat, np.ndarray) else np.frombuffer(flat, np.uint8)
    data.flags.writeable = False
    return data


def _unpack_gaps(payload: memoryview, tensor: Tensor, size: int) -> Array:
    """The ascending indices of a gap list, each checked to lie below `size`."""
    width = _gap_width(tensor, payload)
    indices = np.empty(min(max(tensor.count, 0), len(payload) // width), np.int64)
    _check_count(_gaps.read_gaps(_bytes(payload), width, size, indices), tensor, size)
    return indices


def _gap_width(tensor: Tensor, payload: memoryview) -> int:
    width = _GAP_BYTES[tensor.encoding]
    if len(payload) % width:
        raise UserError(f"{_where(tensor)}: {len(payload)} bytes are no whole number of gaps; the frame is damaged")
    return width


def _check_count(found: int, tensor: Tensor, size: int) -> None:
    if found != tensor.count:
        raise UserError(
            f"{_where(tensor)}: the gap list ends in a gap, miscounts its numbers or points beyond the {size} that there are; the "
            "frame is damaged"
        )


def _known_dtype(name: str, tensor: Tensor) -> np.dtype[Any]:
    if name not in DTYPES:
        raise UserError(f"{_where(tensor)} has dtype {name!r}; known: {', '.join(DTYPES)}")
    return DTYPES[name]


def _size(tensor: Tensor, dtype: np.dtype[Any], max_bytes: int) -> int:
    size = largest = 1
    for each in tensor.shape:
        largest = max(largest, each)
        if each < 0:
            raise UserError(f"{_where(tensor)} has the shape {list(tensor.shape)}; no dimension is below 0")
        size *= each
    if size * dtype.itemsize > max_bytes or largest > max_bytes or len(tensor.shape) > 32:
        raise UserError(
            f"{_where(tensor)} of shape {list(tensor.shape)} is larger than the {max_bytes} bytes allowed; send fewer steps or a "
            "smaller batch at once, or raise max_frame_bytes"
        )
    return size


def _decode_dense(tensor: Tensor, payload: memoryview, dtype: np.dtype[Any], size: int) -> Array:
    _check_length(payload, size * dtype.itemsize, tensor)
    if dtype.hasobject:
        raise UserError(f"{_where(tensor)}: objects do not travel dense; the frame is damaged")
    return np.frombuffer(payload, dtype)


def _decode_narrow(tensor: Tensor, payload: memoryview, dtype: np.dtype[Any], size: int) -> Array:
    narrow = _value_dtype(tensor, dtype)
    _check_length(payload, size * narrow.itemsize, tensor)
    return np.frombuffer(payload, narrow).astype(dtype)


def _decode_bitmap(tensor: Tensor, payload: memoryview, dtype: np.dtype[Any], size: int) -> Array:
    _check_length(payload, (size + 7) // 8, tensor)
    _check_spikes(dtype, tensor)
    spikes = np.empty(size, np.uint8)
    _gaps.unmark(_bytes(payload), spikes)
    return spikes


def _decode_gaps(tensor: Tensor, payload: memoryview, dtype: np.dtype[Any], size: int) -> Array:
    _check_spikes(dtype, tensor)
    width = _gap_width(tensor, payload)
    spikes = np.zeros(size, dtype)
    _check_count(_gaps.place_spikes(_bytes(payload), width, spikes), tensor, size)
    return spikes


def _decode_sparse(tensor: Tensor, payload: memoryview, dtype: np.dtype[Any], size: int) -> Array:
    narrow = _value_dtype(tensor, dtype)
    split = len(payload) - tensor.count * narrow.itemsize
    if tensor.count < 0 or split < 0:
        raise UserError(
            f"{_where(tensor)}: {len(payload)} bytes do not hold {tensor.count} numbers; the frame is damaged"
        )
    indices = _unpack_gaps(payload[:split], tensor, size)
    numbers = np.zeros(size, dtype)
    numbers[indices] = np.frombuffer(payload[split:], narrow)
    return numbers


def _decode_blobs(tensor: Tensor, payload: memoryview, dtype: np.dtype[Any], size: int) -> Array:
    elements: list[bytes] = []
    at = 0
    while at + 4 <= len(payload) and len(elements) < size:
        (length,) = _LENGTH.unpack_from(payload, at)
        at += 4 + length
        elements.append(bytes(payload[at - length : at]))
    if at != len(payload) or len(elements) != size or not dtype.hasobject:
        raise UserError(f"{_where(tensor)}: {len(payload)} bytes do not hold {size} elements; the frame is damaged")
    array = np.empty(size, object)
    array[:] = elements
    return array


def _value_dtype(tensor: Tensor, dtype: np.dtype[Any]) -> np.dtype[Any]:
    narrow = _known_dtype(tensor.values, tensor)
    integers = narrow.kind in "iu" and dtype.kind in "iu" and narrow.itemsize <= dtype.itemsize
    if narrow.hasobject or (narrow != dtype and not integers):
        raise UserError(f"{_where(tensor)}: {narrow} numbers do not fit into {dtype}; the frame is damaged")
    return narrow


def _check_length(payload: memoryview, expected: int, tensor: Tensor) -> None:
    if len(payload) != expected:
        raise UserError(
            f"{_where(tensor)}: its shape takes {expected} bytes, but {len(payload)} came; the frame is damaged"
        )


def _check_spikes(dtype: np.dtype[Any], tensor: Tensor) -> None:
    if dtype != np.uint8:
        raise UserError(f"{_where(tensor)}: spikes travel as u1, not as {dtype}; the frame is damaged")


_DECODERS: dict[str, Callable[[Tensor, memoryview, np.dtype[Any], int], Array]] = {
    DENSE: _decode_dense,
    NARROW: _decode_narrow,
    BITMAP: _decode_bitmap,
    GAPS8: _decode_gaps,
    GAPS16: _decode_gaps,
    SPARSE8: _decode_sparse,
    SPARSE16: _decode_sparse,
    BLOBS: _decode_blobs,
}
