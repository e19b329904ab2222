"""Compiled kernels of synapses with large weights: their outputs are divided into tiles, and each tile reads a list of active inputs.

`synapse_kernels` reads all weights of an input at once, for every input of every frame: what does not fit into a cache comes
from memory again and again. Here a tile of outputs, with weights that lie together, takes all frames of all samples
before the next tile begins, so that weights come once and are used while they are near. Which inputs are active is
found out once, by the line before. Each output still takes its products in ascending input index.

A list is, for each frame: where the entries of each place begin (int32), the channels that are active (int32), and
what their weights are multiplied by (float32) where inputs are no spikes.
"""

from __future__ import annotations

import numpy as np

from synfire.base.compiled import trailing_zeros
from synfire.engines.cpu.integrating_kernels import fire_or_integrate
from synfire.engines.cpu.narrow_kernels import sum_halves
from synfire.engines.cpu.tape import (
    ACROSS,
    ACTIVE,
    BEGUN,
    BLOCK,
    CHANNELS,
    CURRENT,
    DONE,
    ENTRIES,
    FLOATS,
    FORM,
    FORMAT,
    HALVES,
    HEIGHT,
    LINE_INDEX,
    LINES,
    NARROW,
    PITCH,
    ROW,
    ROWS,
    RUN_INDEX,
    RUNS,
    SOURCE,
    SOURCE_SAMPLE,
    SOURCE_STEP,
    SPIKES,
    START,
    STEPS,
    TARGET,
    TARGET_SAMPLE,
    TARGET_STEP,
    TILE,
    TILE_BYTES,
    TILES,
    VALUES,
    WEIGHT,
    WIDTH,
    kernel,
)
from synfire.engines.cpu.vectors import (
    floats,
    integers,
    nonzero_bytes,
    nonzero_floats,
    octets,
    prefetch,
    sum_rows,
    sum_scaled_rows,
    words,
)

FRAMES = 64
"""Of a synapse with one place: how many frames are summed at the same time."""


@kernel
def list_active(op, source, out):  # type: ignore[no-untyped-def]
    """List a frame's inputs that are not 0, place by place."""
    places, channels, form, one = op[HEIGHT] * op[WIDTH], op[CHANNELS], op[FORMAT], np.uint64(1)
    starts, entries = integers(out, places + 1), integers(out + op[ENTRIES], places * channels)
    factors, together = floats(out + op[VALUES], places * channels), 16 if form == FLOATS else 64
    count = 0
    for place in range(places):
        starts[place] = count
        here = source + place * channels * (4 if form == FLOATS else 1)
        small, large = octets(here, channels), floats(here, channels)
        for first in range(0, channels, together):
            mask = nonzero_floats(here + 4 * first) if form == FLOATS else nonzero_bytes(here + first)
            if channels - first < together:
                mask &= (one << np.uint64(channels - first)) - one
            while mask:
                channel = first + trailing_zeros(mask)
                entries[count] = channel
                if form != SPIKES:
                    factors[count] = large[channel] if form == FLOATS else np.float32(small[channel])
                count += 1
                mask &= mask - one
    starts[places] = count


@kernel
def sum_tile(op, state_bytes, first, samples, tile):  # type: ignore[no-untyped-def]
    """One tile of a synapse's outputs for all frames of the samples, and the neurons behind it if there are any."""
    if op[BLOCK] > 0:
        _one_place(op, state_bytes, first, samples, tile)
    else:
        _image(op, state_bytes, first, samples, tile)


@kernel
def _start_row(op, tile, out):  # type: ignore[no-untyped-def]
    start, total = floats(op[START] + 4 * tile * op[PITCH], op[PITCH]), floats(out, op[PITCH])
    for k in range(op[PITCH]):
        total[k] = start[k]


@kernel
def _sum(op, onto, rows, listed, begin, end, vectors, reached, down, along):  # type: ignore[no-untyped-def]
    """Add the weights of a list's entries from `begin` to `end`."""
    entries, number = listed + op[ENTRIES] + 4 * begin, end - begin
    if op[NARROW] == HALVES:
        sum_halves(onto, rows, entries, op[ACROSS], number, vectors, reached, down, along)
    elif op[FORMAT] == SPIKES:
        sum_rows(onto, rows, entries, op[ACROSS], number, vectors, reached, down, along)
    else:
        values = listed + op[VALUES] + 4 * begin
        sum_scaled_rows(onto, rows, entries, op[ACROSS], values, number, vectors, reached, down, along)


@kernel
def _image(op, state_bytes, first, samples, tile):  # type: ignore[no-untyped-def]
    """Row by row, as `synfire.engines.cpu.player` has it for synapses in one piece."""
    begun, done, current = words(op[BEGUN], op[HEIGHT]), words(op[DONE], op[HEIGHT]), op[CURRENT]
    height, rows, pitch, still = op[HEIGHT], op[ROWS], 4 * op[PITCH], op[SOURCE_STEP] == 0
    for s in range(samples):
        for frame in range(1 if still else op[STEPS]):
            listed = op[SOURCE] + s * op[SOURCE_SAMPLE] + frame * op[SOURCE_STEP]
            target = op[TARGET] + s * op[TARGET_SAMPLE] + frame * op[TARGET_STEP]
            ready = fired = 0
            for y in range(height):
                while ready < (rows if y == height - 1 else begun[y]):
                    _start_row(op, tile, current + ready * pitch)
                    ready += 1
                _receive_row(op, listed, y, tile, current)
                while fired < done[y]:
                    for t in range(op[STEPS] if still else 1):
                        onto = target + t * op[TARGET_STEP]
                        _emit(op, state_bytes, current + fired * pitch, first + s, fired, tile, onto)
                    fired += 1


@kernel
def _receive_row(op, listed, y, tile, out):  # type: ignore[no-untyped-def]
    """Add what row `y` of the input gives to a tile's current; the tables are those of `synfire.engines.cpu.reach`."""
    line_index, lines = words(op[LINE_INDEX], 0), words(op[LINES], 0)
    run_index, runs, starts = words(op[RUN_INDEX], 0), words(op[RUNS], 0), integers(listed, 0)
    top, reached, width = line_index[y], line_index[y + 1] - line_index[y], op[WIDTH]
    if reached == 0:
        return
    down = lines[2 * top + 2] - lines[2 * top] if reached > 1 else 0
    along = lines[2 * top + 3] - lines[2 * top + 1] if reached > 1 else 0
    weight = op[WEIGHT] + tile * op[TILE_BYTES] + lines[2 * top + 1]
    for x in range(width):
        begin, end = starts[y * width + x], starts[y * width + x + 1]
        if begin == end:
            continue
        for run in range(run_index[x], run_index[x + 1]):
            onto = out + lines[2 * top] + runs[3 * run]
            _sum(op, onto, weight + runs[3 * run + 1], listed, begin, end, runs[3 * run + 2], reached, down, along)


@kernel
def _one_place(op, state_bytes, first, samples, tile):  # type: ignore[no-untyped-def]
    """Some inputs of all frames, then the next inputs: what they share of the weights is read once."""
    still = op[SOURCE_STEP] == 0
    steps = 1 if still else op[STEPS]
    for begin in range(0, samples * steps, FRAMES):
        count = min(FRAMES, samples * steps - begin)
        _sum_frames(op, begin, count, steps, tile)
        for k in range(count):
            s, frame = (begin + k) // steps, (begin + k) % steps
            target = op[TARGET] + s * op[TARGET_SAMPLE] + frame * op[TARGET_STEP]
            for t in range(op[STEPS] if still else 1):
                current = op[CURRENT] + 4 * k * op[PITCH]
                _emit(op, state_bytes, current, first + s, 0, tile, target + t * op[TARGET_STEP])


@kernel
def _sum_frames(op, begin, count, steps, tile):  # type: ignore[no-untyped-def]
    """The currents of `count` frames from the `begin`-th on, `steps` of them for each sample.

    While a frame adds up its weights of this block it asks for those of the next: for a share of them all where the frames
    use most, and else for those that it will add itself.
    """
    reached = words(op[LINE_INDEX], 2)[1] > 0 and words(op[RUN_INDEX], 2)[1] > 0
    lines, runs, across, channels = words(op[LINES], 0), words(op[RUNS], 0), op[ACROSS], op[CHANNELS]
    here, stop, active = words(op[ACTIVE], FRAMES), words(op[ACTIVE] + 8 * FRAMES, FRAMES), 0
    for k in range(count):
        listed = _listed(op, begin + k, steps)
        here[k] = listed + op[ENTRIES]
        stop[k] = here[k] + 4 * integers(listed, 2)[1]
        active += integers(listed, 2)[1]
        _start_row(op, tile, op[CURRENT] + 4 * k * op[PITCH])
    if not reached:
        return
    rows, vectors, block = op[WEIGHT] + tile * op[TILE_BYTES] + lines[1] + runs[1], runs[2], op[BLOCK]
    share, apart, size = -(-block // count), op[VALUES] - op[ENTRIES], min(64 * vectors, across)
    many, spikes, halves = active > 2 * channels, op[FORMAT] == SPIKES, op[NARROW] == HALVES
    for below in range(block, channels + block, block):
        for k in range(count):
            if many:
                next_ = below + k * share
                _ask(rows + next_ * across, across, min(share, channels - next_), size)
            first, number = here[k], 0
            entries, left = integers(first, 0), (stop[k] - first) // 4
            while number < left and entries[number] < below:
                number += 1
            ahead = left if many else number
            while ahead < left and entries[ahead] < below + block:
                _ask(rows + entries[ahead] * across, across, 1, size)
                ahead += 1
            current = op[CURRENT] + 4 * k * op[PITCH]
            if halves:
                sum_halves(current, rows, first, across, number, vectors, 1, 0, 0)
            elif spikes:
                sum_rows(current, rows, first, across, number, vectors, 1, 0, 0)
            else:
                sum_scaled_rows(current, rows, first, across, first + apart, number, vectors, 1, 0, 0)
            here[k] = first + 4 * number


@kernel
def _listed(op, k, steps):  # type: ignore[no-untyped-def]
    """Where the list of the `k`-th frame is, `steps` of them for each sample."""
    return op[SOURCE] + k // steps * op[SOURCE_SAMPLE] + k % steps * op[SOURCE_STEP]


@kernel
def _ask(rows, across, number, size):  # type: ignore[no-untyped-def]
    """Ask for the weights of `number` inputs, `size` bytes each, before they are read."""
    for k in range(number):
        for at in range(0, size, 64):
            prefetch(rows + k * across + at)


@kernel
def _emit(op, state_bytes, current, sample, y, tile, target):  # type: ignore[no-untyped-def]
    """A row of a tile's current becomes spikes, or is a part of the value itself."""
    outputs, all_ = op[TILE], op[TILE] * op[TILES]
    for x in range(op[ROW] // all_):
        at, here = y * op[ROW] + x * all_ + tile * outputs, current + 4 * x * outputs
        if op[FORM] < 0:
            given, taken = floats(here, outputs), floats(target + 4 * at, outputs)
            for m in range(outputs):
                taken[m] = given[m]
        else:
            fire_or_integrate(op, here, sample * state_bytes, target, at, outputs, 0)
