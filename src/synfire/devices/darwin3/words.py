"""The words of a core's memories: what the configuration port writes and the emulation decodes.

Everything here is vectorised: arrays of fields to arrays of `uint64` words and back. A core has five memories.

`dendrite`, 48-bit words. Address d < 32,768 holds the **head** of dendrite d; lists, geometries and weights lie anywhere::

    head      list 16 | bank 1 | kind 2 | count − 1 (12) | 0 1 | weights 16
    list      four neuron numbers of 12 bits, the first in the highest bits
    weights   48 // bits weights in two's complement, the first in the highest bits (8 bits: six)

`axon`, 26-bit words. Address n < neurons holds the **head** of neuron n, the entries lie behind the heads::

    head      address of the neuron's first entry 14 | index 12
    entry     last 1 | sign, |dx| 5 | sign, |dy| 5 | dendrite 15

A spike follows its neuron's head to the first entry and goes on to the one marked last; each entry sends (dendrite, index)
to the core that lies (dx, dy) away. Neurons may share a list of entries: only heads differ, by the index. A head of 0 has
no axon. `state` holds 16-bit words, `register` and `program` too.

The kinds of a dendrite, by what a spike with index i does:

    LIST    adds weight k to neuron list[k]
    RANGE   adds weight (i, k) to neuron first + k, where the list field is `first` and row i of the weights starts at
            address weights + i · ⌈count / per word⌉ (all-to-all synapses: one dendrite for all inputs)
    KERNEL  a convolution: i is the pixel of the input channel, the list field addresses a `Kernel` of three words
    RELAY   sends (dendrite, index) on, at once, along this core's axon entries from address `weights`

Source: the head, the list, the weights, the axon head and entry are as seen in the public runtime's example files and the
12-bit index in its spike packets. Assumed, not published: the codes and layouts of RANGE, KERNEL and RELAY (the paper,
doi:10.1093/nsr/nwae102, says that all-to-all and convolutional connectivity is compressed, not how), and that the word 0
means "nothing".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from synfire.base.errors import UserError

Words = NDArray[np.uint64]
Integers = NDArray[np.int64]
Coordinate = tuple[int, int]
"""(x, y) on the mesh."""

DENDRITE_BITS, AXON_BITS, STATE_BITS = 48, 26, 16
WEIGHT_BITS = (2, 4, 6, 8, 16)
REACH = 15
MOST_DENDRITES = 2**15
MOST_INDICES = 2**12
LIST_PER_WORD = 4


class Memory(StrEnum):
    """The memories of a core."""

    DENDRITE = "dendrite"
    AXON = "axon"
    PROGRAM = "program"
    REGISTER = "register"
    STATE = "state"


class Kind(IntEnum):
    """What a dendrite does with a spike (see the module)."""

    LIST = 0
    RANGE = 1
    KERNEL = 2
    RELAY = 3


@dataclass(frozen=True)
class AxonEntry:
    """Where a spike goes: the core (dx, dy) away, a dendrite there; `last` ends a neuron's list."""

    dx: int
    dy: int
    dendrite: int
    last: bool = False

    def word(self) -> int:
        """The entry as a 26-bit word."""
        return int(axon_entries(self.dx, self.dy, self.dendrite, self.last)[0])

    @classmethod
    def of(cls, word: int) -> AxonEntry:
        """The entry that a word holds."""
        dx, dy, dendrite, last = read_axon_entries([word])
        return cls(int(dx[0]), int(dy[0]), int(dendrite[0]), bool(last[0]))


def axon_entries(dx: ArrayLike, dy: ArrayLike, dendrite: ArrayLike, last: ArrayLike) -> Words:
    """Entries as words; the four broadcast. Raises `UserError` beyond ±15 hops or 32,768 dendrites."""
    x, y, d, end = (
        np.atleast_1d(a) for a in np.broadcast_arrays(*(np.asarray(a, np.int64) for a in (dx, dy, dendrite, last)))
    )
    for axis, hops in (("dx", x), ("dy", y)):
        _require(
            np.abs(hops) <= REACH, hops, f"axon entries reach {REACH} hops in x and in y, and {axis} is", "relay it"
        )
    _require((d >= 0) & (d < MOST_DENDRITES), d, f"a core has dendrites 0 to {MOST_DENDRITES - 1}, not", "use fewer")
    return _packed((end != 0, 1), (x < 0, 1), (np.abs(x), 4), (y < 0, 1), (np.abs(y), 4), (d, 15))


def read_axon_entries(words: ArrayLike) -> tuple[Integers, Integers, Integers, NDArray[np.bool_]]:
    """(dx, dy, dendrite, last) of each word."""
    w = np.atleast_1d(np.asarray(words, np.int64))
    dx = np.where(w >> 24 & 1, -(w >> 20 & 15), w >> 20 & 15)
    dy = np.where(w >> 19 & 1, -(w >> 15 & 15), w >> 15 & 15)
    return dx, dy, w & 0x7FFF, (w >> 25 & 1).astype(bool)


AXON_HOPS = 0x3FF << 15
"""The bits of an axon entry that name a core."""


def axon_hops(dx: int, dy: int) -> int:
    """These bits for the core (dx, dy) away, at most 15 hops in each."""
    return (dx < 0) << 24 | abs(dx) << 20 | (dy < 0) << 19 | abs(dy) << 15


def axon_heads(address: ArrayLike, index: ArrayLike = 0) -> Words:
    """Heads as words: the address of the neuron's first entry, and the index that its spikes carry."""
    a, i = np.broadcast_arrays(np.asarray(address, np.int64), np.asarray(index, np.int64))
    _require((a >= 0) & (a < 2**14), a, "an axon memory has 16384 words, and the address is", "use fewer entries")
    _require((i >= 0) & (i < MOST_INDICES), i, f"a spike's index is 0 to {MOST_INDICES - 1}, not", "cut the map")
    return _packed((a, 14), (i, 12))


def read_axon_heads(words: ArrayLike) -> tuple[Integers, Integers]:
    """(address, index) of each word."""
    w = np.atleast_1d(np.asarray(words, np.int64))
    return w >> 12, w & 0xFFF


def dendrite_heads(
    kind: ArrayLike, count: ArrayLike, where: ArrayLike, weights: ArrayLike, bank: ArrayLike = 0
) -> Words:
    """Heads as words. `where` is the list field, `weights` an address; `count` (1 to 4096) are neurons, or output channels."""
    k, n, a, w, b = np.broadcast_arrays(*(np.asarray(each, np.int64) for each in (kind, count, where, weights, bank)))
    _require((n >= 1) & (n <= 4096), n, "a dendrite reaches 1 to 4096 neurons, not", "cut the layer")
    for address in (a, w):
        _require(
            (address >= 0) & (address < 2**16),
            address,
            "a dendrite memory has 65536 words, and the address is",
            "cut the layer",
        )
    return _packed((a, 16), (b, 1), (k, 2), (n - 1, 12), (np.zeros_like(n), 1), (w, 16))


def read_dendrite_heads(words: ArrayLike) -> tuple[Integers, Integers, Integers, Integers, Integers]:
    """(kind, count, where, weights, bank) of each word."""
    w = np.atleast_1d(np.asarray(words, np.int64))
    return w >> 29 & 3, (w >> 17 & 0xFFF) + 1, w >> 32 & 0xFFFF, w & 0xFFFF, w >> 31 & 1


@dataclass(frozen=True)
class Kernel:
    """The geometry of a KERNEL dendrite, one input channel's convolution into the neurons of one core.

    Index i is pixel (row, column) = divmod(i, in_width). For each kernel tap (r, c) with ::

        y · stride_y = row + top − r · dilation_y       0 ≤ y < out_height
        x · stride_x = column + left − c · dilation_x   0 ≤ x < out_width

    weight (r, c, o) is added to neuron first + (y · out_width + x) · pixel + o for each of the head's `count` channels o: the
    neurons of a core are channels last, `pixel` of them to a pixel. Weights lie in the order (r, c, o) without gaps. `top` and
    `left` hold the padding, and where the core's rows, or the input's, begin: top = padding + first input row − first
    output row · stride.
    """

    in_width: int
    out_height: int
    out_width: int
    pixel: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    first: int = 0
    top: int = 0
    left: int = 0

    def words(self) -> Words:
        """The three words. Raises `UserError` for a field that does not fit."""
        sizes = (self.in_width, self.out_height, self.out_width, self.pixel, self.first)
        _require(
            np.asarray(sizes) < 4096, np.asarray(sizes), "a kernel dendrite's sizes are below 4096, not", "cut the map"
        )
        small = np.asarray((*self.kernel, *self.stride, *self.dilation))
        _require((small > 0) & (small < 64), small, "kernel, stride and dilation are 1 to 63, not", "run it on cpu")
        offsets = np.asarray((self.top, self.left))
        _require(np.abs(offsets) < 2048, offsets, "a kernel dendrite's offsets are within ±2047, not", "cut the map")
        pairs = [high << 6 | low for high, low in (self.kernel, self.stride, self.dilation)]
        return np.array(
            [
                _join12(self.in_width, self.out_height, self.out_width, self.pixel),
                _join12(*pairs, self.first),
                _join12(self.top & 0xFFF, self.left & 0xFFF, 0, 0),
            ],
            np.uint64,
        )

    @classmethod
    def of(cls, words: ArrayLike) -> Kernel:
        """The geometry that three words hold."""
        a, b, c = ([int(each) >> shift & 0xFFF for shift in (36, 24, 12, 0)] for each in np.asarray(words, np.uint64))
        kernel, stride, dilation = ((each >> 6, each & 63) for each in b[:3])
        top, left = (each - 4096 if each >= 2048 else each for each in c[:2])
        return cls(a[0], a[1], a[2], a[3], kernel, stride, dilation, b[3], top, left)


def weights_per_word(bits: int) -> int:
    """How many weights a 48-bit word holds: 24, 12, 8, 6 or 3."""
    if bits not in WEIGHT_BITS:
        raise UserError(
            f"weights have {bits} bits; a core knows {', '.join(map(str, WEIGHT_BITS))}: quantise to one of these"
        )
    return DENDRITE_BITS // bits


def pack_weights(weights: ArrayLike, bits: int) -> Words:
    """Weights, row by row on the last axis, as words; each row is filled up with 0 to whole words."""
    per, low, high = weights_per_word(bits), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    w = np.asarray(weights, np.int64)
    _require((w >= low) & (w <= high), w, f"{bits}-bit weights are {low} to {high}, not", "quantise them")
    return _pack_rows(w & (2**bits - 1), per, bits)


def unpack_weights(words: ArrayLike, bits: int) -> NDArray[np.int16]:
    """Every weight of the words, in order: `(words · per word,)`."""
    raw = _unpack_rows(words, weights_per_word(bits), bits)
    return ((raw ^ 1 << bits - 1) - (1 << bits - 1)).astype(np.int16)


def pack_list(neurons: ArrayLike) -> Words:
    """Neuron numbers as words, four to a word, filled up with 0."""
    n = np.asarray(neurons, np.int64)
    _require((n >= 0) & (n < 4096), n, "a core has neurons 0 to 4095, not", "cut the layer")
    return _pack_rows(n, LIST_PER_WORD, 12)


def unpack_list(words: ArrayLike) -> Integers:
    """Every neuron number of the words, in order."""
    return _unpack_rows(words, LIST_PER_WORD, 12)


def pack_values(values: ArrayLike) -> Words:
    """Signed 16-bit values (state, registers) as words. Raises `UserError` for one that does not fit."""
    v = np.atleast_1d(np.asarray(values, np.int64))
    _require((v >= -(2**15)) & (v < 2**15), v, "state and registers are −32768 to 32767, not", "scale the layer down")
    return (v & 0xFFFF).astype(np.uint64)


def unpack_values(words: ArrayLike) -> NDArray[np.int16]:
    """The signed 16-bit values of words."""
    return np.atleast_1d(np.asarray(words, np.uint64)).astype(np.uint16).view(np.int16)


@dataclass(frozen=True)
class Block:
    """Words that lie one behind the other in a memory of a core."""

    memory: Memory
    address: int
    words: Words


@dataclass(frozen=True)
class CoreImage:
    """What one core holds: words of each memory from address 0 (empty: not written)."""

    dendrite: Words = field(default_factory=lambda: np.zeros(0, np.uint64))
    axon: Words = field(default_factory=lambda: np.zeros(0, np.uint64))
    program: Words = field(default_factory=lambda: np.zeros(0, np.uint64))
    register: Words = field(default_factory=lambda: np.zeros(0, np.uint64))
    state: tuple[Block, ...] = ()

    def blocks(self) -> tuple[Block, ...]:
        """What has to be written, memory by memory."""
        whole = (Block(Memory(name), 0, getattr(self, name)) for name in ("dendrite", "axon", "program", "register"))
        return (*(each for each in whole if each.words.size), *self.state)

    @property
    def size(self) -> int:
        """Words in all."""
        return sum(each.words.size for each in self.blocks())


def _packed(*fields: tuple[Any, int]) -> Words:
    """Fields of a word, the first in the highest bits."""
    word: Words = np.zeros(np.shape(fields[0][0]), np.uint64)
    for value, bits in fields:
        word = word << np.uint64(bits) | np.asarray(value).astype(np.uint64)
    return np.atleast_1d(word)


def _join12(*parts: int) -> int:
    word = 0
    for part in parts:
        word = word << 12 | int(part)
    return word


def _pack_rows(values: Integers, per: int, bits: int) -> Words:
    missing = -values.shape[-1] % per
    full = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, missing)]).reshape(-1, per)
    shifts = np.arange(per - 1, -1, -1, dtype=np.uint64) * np.uint64(bits)
    packed: Words = np.bitwise_or.reduce(full.astype(np.uint64) << shifts, axis=1)
    return packed


def _unpack_rows(words: ArrayLike, per: int, bits: int) -> Integers:
    shifts = np.arange(per - 1, -1, -1, dtype=np.uint64) * np.uint64(bits)
    return (np.asarray(words, np.uint64)[:, None] >> shifts & np.uint64(2**bits - 1)).reshape(-1).astype(np.int64)


def _require(holds: NDArray[np.bool_], values: NDArray[Any], limit: str, cure: str) -> None:
    if not np.all(holds):
        raise UserError(f"{limit} {np.asarray(values)[~np.asarray(holds)].flat[0]}; {cure}")
