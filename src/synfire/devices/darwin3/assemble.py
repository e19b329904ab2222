"""The words of a piece: dendrite heads, geometries, lists and weights; program and registers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.devices.darwin3.ir import HARD, SOFT, Convolution, Dynamics, Form, Full, Projection, Sparse
from synfire.devices.darwin3.limits import REGISTER_WORDS
from synfire.devices.darwin3.neurons import Model, Register, Reset
from synfire.devices.darwin3.neurons import program as program_of
from synfire.devices.darwin3.partition import Piece
from synfire.devices.darwin3.words import (
    MOST_DENDRITES,
    Kernel,
    Kind,
    Words,
    dendrite_heads,
    pack_list,
    pack_values,
    pack_weights,
    weights_per_word,
)
from synfire.ops import Array


@dataclass(frozen=True, eq=False)
class _Heads:
    """Dendrites of one kind, before it is known where their words lie: `lists` and `weights` count from `words`' begin."""

    kind: Kind
    channels: Array
    counts: Array
    lists: Array
    weights: Array
    words: Words
    listed: bool = True


def assemble(piece: Piece, arriving: tuple[Projection, ...], bits: int) -> tuple[Words, list[Array]]:
    """The dendrite memory of a piece, and for each projection the dendrite of each channel, −1 for one that reaches nothing."""
    parts = [list(_heads(each.form, piece, bits)) for each in arriving]
    heads = sum(len(part.channels) for each in parts for part in each)
    if heads > MOST_DENDRITES:
        raise UserError(f"{piece.name} needs {heads} dendrites, and a core has {MOST_DENDRITES}; place it on cpu")
    memory: list[Words] = []
    behind: list[Words] = []
    first, address, tables = 0, heads, []
    for each, found in zip(arriving, parts, strict=True):
        table = np.full(each.form.in_shape[0], -1)
        for part in found:
            table[part.channels] = first + np.arange(len(part.channels))
            where = part.lists + (address if part.listed else 0)
            memory.append(dendrite_heads(int(part.kind), part.counts, where, part.weights + address))
            behind.append(part.words)
            first, address = first + len(part.channels), address + len(part.words)
        tables.append(table)
    return np.concatenate([*memory, *behind, np.zeros(0, np.uint64)]), tables


def registers(dynamics: Dynamics, bits: int) -> tuple[Words, Callable[[int], Words]]:
    """The program of a population's cores, and the registers of one with so many neurons."""
    model = Model.IF if dynamics.keep == 1 else Model.CLIF
    values = np.zeros(REGISTER_WORDS, np.int64)
    values[Register.WEIGHT_BITS] = bits
    values[Register.RESET] = {HARD: Reset.HARD, SOFT: Reset.SOFT}.get(dynamics.reset, Reset.NONE)
    values[Register.P0] = round(dynamics.keep * 256)

    def of(neurons: int) -> Words:
        return pack_values(np.where(np.arange(REGISTER_WORDS) == Register.NEURONS, neurons, values))

    return program_of(model), of


def _heads(form: Form, piece: Piece, bits: int) -> Iterator[_Heads]:
    if isinstance(form, Convolution):
        return _kernels(form, piece, bits)
    if isinstance(form, Full):
        return _ranges(form, piece, bits)
    return _lists(form, piece, bits)


def _kernels(form: Convolution, piece: Piece, bits: int) -> Iterator[_Heads]:
    """One geometry for each group that the piece has channels of, one dendrite for each of the group's input channels."""
    outputs, per_group = form.weight.shape[0] // form.groups, form.weight.shape[1]
    last = piece.first_channel + piece.channels
    for g in range(piece.first_channel // outputs, -(-last // outputs)):
        begin, end = max(g * outputs, piece.first_channel), min((g + 1) * outputs, last)
        weights = form.weight[begin:end].transpose(1, 2, 3, 0).reshape(per_group, -1)
        packed = pack_weights(weights, bits).reshape(per_group, -1)
        yield _Heads(
            Kind.KERNEL,
            g * per_group + np.arange(per_group),
            np.full(per_group, end - begin),
            np.zeros(per_group, np.int64),
            3 + np.arange(per_group) * packed.shape[1],
            np.concatenate([_geometry(form, piece, begin - piece.first_channel).words(), packed.ravel()]),
        )


def _geometry(form: Convolution, piece: Piece, first: int) -> Kernel:
    return Kernel(
        in_width=form.in_size[1],
        out_height=piece.rows,
        out_width=piece.layout.width,
        pixel=piece.channels,
        kernel=(form.weight.shape[2], form.weight.shape[3]),
        stride=form.stride,
        dilation=form.dilation,
        first=first,
        top=form.padding[0] - piece.first_row * form.stride[0],
        left=form.padding[1],
    )


def _ranges(form: Full, piece: Piece, bits: int) -> Iterator[_Heads]:
    channels, pixels = form.in_shape
    packed = pack_weights(form.weight[piece.elements()].T, bits)
    per_channel = pixels * -(-piece.neurons // weights_per_word(bits))
    every = np.arange(channels)
    counts, zeros = np.full(channels, piece.neurons), np.zeros(channels, np.int64)
    yield _Heads(Kind.RANGE, every, counts, zeros, every * per_channel, packed, listed=False)


def _lists(form: Sparse, piece: Piece, bits: int) -> Iterator[_Heads]:
    neuron = np.full(form.rows.width, -1)
    neuron[piece.elements()] = np.arange(piece.neurons)
    local = neuron[form.rows.targets]
    inside, row = local >= 0, form.rows.of_row
    words: list[Words] = []
    lists, weights, address = [], [], 0
    channels = np.unique(row[inside])
    for r in channels:
        chosen = slice(form.rows.pointers[r], form.rows.pointers[r + 1])
        here = inside[chosen]
        parts = pack_list(local[chosen][here]), pack_weights(form.rows.weights[chosen][here], bits)
        lists.append(address)
        weights.append(address + len(parts[0]))
        address += len(parts[0]) + len(parts[1])
        words += parts
    counts = np.bincount(row[inside], minlength=len(form.rows))[channels]
    if len(channels):
        yield _Heads(Kind.LIST, channels, counts, np.array(lists), np.array(weights), np.concatenate(words))
