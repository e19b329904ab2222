"""Relocatable operator images: an operator compiled for a kind of chip, for no core in particular.

What object files are to a linker. An image holds the words of each of its pieces (one core's worth) but no coordinate and no
neighbour: who feeds it is a numbered slot, who reads it is not its concern. `link` binds slots to sources and pieces to
cores, and writes the axon memories, the only words that hold coordinates.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np

from synfire.base.errors import PermanentError, UserError
from synfire.devices.darwin3.assemble import assemble, registers
from synfire.devices.darwin3.ir import Layout, Population, Projection, Sparse
from synfire.devices.darwin3.limits import ChipLimits
from synfire.devices.darwin3.neurons import SECTION, State
from synfire.devices.darwin3.partition import Piece
from synfire.devices.darwin3.words import Block, CoreImage, Memory, Words, pack_values
from synfire.ops import Array

FORMAT = "synfire-darwin3-image/2"


class Slot(msgspec.Struct, frozen=True):
    """An input: which dendrite of each piece the spikes of a source's elements go to.

    Element e of the source (`size` of them) sends to channel `place[e] // pixels`, with index `place[e] % pixels`; −1 sends
    nothing; an empty `place` stands for 0, 1, 2, …. `dendrites[p]` is piece p's dendrite of each channel, −1 for none. Both are
    int32. Spikes count `delay_steps` later. `indexed` says whether the index matters.
    """

    size: int
    channels: int
    pixels: int
    place: bytes
    dendrites: tuple[bytes, ...]
    delay_steps: int = 0
    indexed: bool = True

    def places(self) -> Array:
        """`(size,)`."""
        return np.frombuffer(self.place, "<i4").astype(np.int64) if self.place else np.arange(self.size)

    def channel(self) -> Array:
        """The channel of each source element, −1 for none."""
        places = self.places()
        return np.where(places < 0, -1, places // self.pixels)

    def index(self) -> Array:
        """The index of each source element's spikes, −1 where none is asked for."""
        places = self.places()
        return np.where(places < 0, -1, places % self.pixels) if self.indexed else np.full(self.size, -1)

    def table(self) -> Array:
        """`(piece, channel)`."""
        return np.stack([np.frombuffer(each, "<i4") for each in self.dendrites]).astype(np.int64)


class PieceImage(msgspec.Struct, frozen=True):
    """One core's worth: where its neurons lie in the operator's maps, and its words, 8 bytes each, but for the axons."""

    number: int
    first_channel: int
    channels: int
    first_row: int
    rows: int
    dendrite: bytes
    program: bytes
    register: bytes
    thresholds: bytes

    @property
    def dendrite_words(self) -> int:
        return len(self.dendrite) // 8


class KnownAnswer(msgspec.Struct, frozen=True):
    """A stimulus and what must come of it (see `known`).

    `stimulus` is `(event, 4)` int32: sample, slot, channel, index, all in the first step. `membranes[p]` are SHA-256 of piece p's
    membranes, one for each step; `spikes` the packed bits `(step, sample, element)`.
    """

    stimulus: bytes
    membranes: tuple[tuple[str, ...], ...]
    spikes: bytes

    def events(self) -> Array:
        """`(event, 4)`."""
        return np.frombuffer(self.stimulus, "<i4").reshape(-1, 4).astype(np.int64)


class OperatorImage(msgspec.Struct, frozen=True):
    """An operator, ready to be linked onto any cores that are large enough.

    `chip` is the kind of chip, `bits` the width of weights, `shape` the operator's output, `scales` the factors by which its
    channels' numbers were multiplied.
    """

    chip: str
    bits: int
    shape: tuple[int, ...]
    pieces: tuple[PieceImage, ...]
    slots: tuple[Slot, ...]
    scales: tuple[float, ...]
    known: KnownAnswer | None = None
    format: str = FORMAT

    @property
    def layout(self) -> Layout:
        return Layout.of(self.shape)

    def piece(self, number: int) -> Piece:
        """The geometry of a piece."""
        each = self.pieces[number]
        return Piece("", number, self.layout, each.first_channel, each.channels, each.first_row, each.rows)

    def neurons(self, number: int) -> int:
        return len(self.pieces[number].thresholds) // 2

    def core(self, number: int, axon: Words) -> CoreImage:
        """The whole words of a piece with the axon memory that the linker made."""
        each = self.pieces[number]
        thresholds = np.frombuffer(each.thresholds, "<i2")
        state = (
            Block(Memory.STATE, State.MEMBRANE * SECTION, np.zeros(len(thresholds), np.uint64)),
            Block(Memory.STATE, State.THRESHOLD * SECTION, pack_values(thresholds)),
        )
        words = (np.frombuffer(part, "<u8") for part in (each.dendrite, each.program, each.register))
        dendrite, program, register = words
        return CoreImage(dendrite, axon, program, register, state)

    def encode(self) -> bytes:
        """The image as MessagePack; its SHA-256 is its name in a store."""
        return msgspec.msgpack.encode(self)

    def digest(self) -> str:
        """SHA-256 of `encode()`."""
        return hashlib.sha256(self.encode()).hexdigest()


def decode(content: bytes, limits: ChipLimits | None = None) -> OperatorImage:
    """The inverse of `encode`.

    Raises `PermanentError` for bytes that are no image or one of another format, `UserError` for an image that is for another
    chip than `limits`.
    """
    try:
        image = msgspec.msgpack.decode(content, type=OperatorImage)
    except msgspec.DecodeError as error:
        raise PermanentError(f"this is no operator image ({error}); compile the operator again") from error
    if image.format != FORMAT:
        raise PermanentError(f"the operator image has format {image.format!r}, not {FORMAT!r}; compile it again")
    if limits is not None and image.chip != limits.name:
        raise UserError(f"the operator image is for {image.chip}, not for {limits.name}; compile it for this chip")
    return image


@dataclass(frozen=True, eq=False)
class Source:
    """All that an image is made from; equal sources have equal images."""

    population: Population
    arriving: tuple[Projection, ...]
    pieces: tuple[Piece, ...]
    scales: Array
    limits: ChipLimits
    bits: int

    def digest(self) -> str:
        """SHA-256 over everything that the words depend on; names of operators and sources do not."""
        found = hashlib.sha256(f"{FORMAT} {self.limits.name} {self.bits} {self.population.shape}".encode())
        found.update(repr(self.population.dynamics).encode())
        found.update(np.ascontiguousarray(self.population.thresholds).tobytes())
        found.update(np.ascontiguousarray(self.scales).tobytes())
        for piece in self.pieces:
            found.update(repr((piece.first_channel, piece.channels, piece.first_row, piece.rows)).encode())
        for each in self.arriving:
            _digest_projection(found, each)
        return found.hexdigest()


def make_image(source: Source) -> OperatorImage:
    """Compile one operator. Raises `UserError` for a piece that no core holds."""
    parts = [assemble(piece, source.arriving, source.bits) for piece in source.pieces]
    program, register = registers(source.population.dynamics, source.bits)
    thresholds = np.broadcast_to(source.population.thresholds, source.population.size)
    pieces = tuple(
        PieceImage(
            piece.number,
            piece.first_channel,
            piece.channels,
            piece.first_row,
            piece.rows,
            words.astype("<u8").tobytes(),
            program.astype("<u8").tobytes(),
            register(piece.neurons).astype("<u8").tobytes(),
            thresholds[piece.elements()].astype("<i2").tobytes(),
        )
        for piece, (words, _) in zip(source.pieces, parts, strict=True)
    )
    slots = tuple(_slot(each, [tables[i] for _, tables in parts]) for i, each in enumerate(source.arriving))
    scales = tuple(float(each) for each in source.scales)
    return OperatorImage(source.limits.name, source.bits, source.population.shape, pieces, slots, scales)


def _slot(each: Projection, tables: list[Array]) -> Slot:
    channels, pixels = each.form.in_shape
    plain = len(each.place) == math.prod((channels, pixels)) and bool((each.place == np.arange(len(each.place))).all())
    return Slot(
        len(each.place),
        channels,
        pixels,
        b"" if plain else each.place.astype("<i4").tobytes(),
        tuple(table.astype("<i4").tobytes() for table in tables),
        each.delay_steps,
        not isinstance(each.form, Sparse),
    )


def _digest_projection(found: hashlib._Hash, each: Projection) -> None:
    found.update(f"{type(each.form).__name__} {each.delay_steps}".encode())
    found.update(each.place.astype("<i4").tobytes())
    fields: Mapping[str, object] = vars(each.form) if not isinstance(each.form, Sparse) else vars(each.form.rows)
    for name, value in fields.items():
        found.update(name.encode())
        found.update(np.ascontiguousarray(value).tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
