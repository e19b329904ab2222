"""The compiled program: plays a tape, line by line, for one group of samples after the other.

A line is played for all samples of the group and all time steps of the block before the next one begins, so its weights
stay at hand; and a group is as small as its values fit into the processor's cache. Nothing is allocated here.
"""

from __future__ import annotations

import numpy as np

from synfire.engines.cpu.claims import claim, wait
from synfire.engines.cpu.dense_kernels import TOGETHER, count_frames, current_of, is_dense, sum_densely, sum_listed
from synfire.engines.cpu.integrating_kernels import fire_or_integrate
from synfire.engines.cpu.narrow_kernels import receive_narrow_row, scale_row
from synfire.engines.cpu.neuron_kernels import fire_adaptive
from synfire.engines.cpu.shape_kernels import add, attend, both, element, part, pool, spread, total, turn, widen
from synfire.engines.cpu.synapse_kernels import receive_row, start_row
from synfire.engines.cpu.tape import (
    ADAPTIVE,
    ADD,
    AND,
    ATTEND,
    BEGUN,
    BLOCK,
    BYTES,
    CHANNELS,
    CURRENT,
    DONE,
    ELEMENT,
    FLOATS,
    FORM,
    FORMAT,
    HEIGHT,
    KIND,
    LIST,
    LOAD,
    LOOP,
    NARROW,
    NEURON,
    OTHER,
    OTHER_SAMPLE,
    OTHER_STEP,
    PITCH,
    POOL,
    RATE,
    READ,
    ROW,
    ROWS,
    SIZE,
    SLICE,
    SOURCE,
    SOURCE_SAMPLE,
    SOURCE_STEP,
    SPREAD,
    START,
    STATE,
    STATE_2,
    STATE_3,
    STEPS,
    STORE,
    SUM,
    SUMMED,
    SYNAPSE,
    TARGET,
    TARGET_SAMPLE,
    TARGET_STEP,
    THIRD,
    THIRD_SAMPLE,
    THIRD_STEP,
    TILED,
    TILES,
    TURN,
    WIDE,
    WIDTH,
    kernel,
)
from synfire.engines.cpu.tiled_kernels import list_active, sum_tile
from synfire.engines.cpu.vectors import copy, floats, words


@kernel
def _one_place(op, state_bytes, first, start, stop):  # type: ignore[no-untyped-def]
    """A synapse with one place, some frames of its samples at a time: event-driven, or densely where many of their inputs are active."""
    steps = 1 if op[SOURCE_STEP] == 0 else op[STEPS]
    times, end = op[STEPS] // steps, stop * steps
    for begin in range(start * steps, end, TOGETHER):
        count = min(TOGETHER, end - begin)
        dense = is_dense(op, begin, count, steps)
        if dense:
            sum_densely(op, begin, count, steps)
        count_frames(op, dense, count)
        for k in range(count):
            s, frame = (begin + k) // steps, (begin + k) % steps
            current = current_of(op, k) if dense else sum_listed(op, k)
            target = op[TARGET] + s * op[TARGET_SAMPLE] + frame * op[TARGET_STEP]
            for t in range(times):
                _emit(op, state_bytes, current, first + s, 0, target + t * op[TARGET_STEP], 0)


@kernel
def _synapse(op, state_bytes, first, start, stop):  # type: ignore[no-untyped-def]
    """A synapse, and the neurons behind it if there are any.

    A row of the current is begun when the first input reaches it and used up when the last one has, for one step, or for
    all steps where the input stays the same. So currents never leave the processor's nearest cache. Where neurons take it for one
    step they begin it anew for the next frame, which costs less than to come by once more.
    """
    begun, done, current = words(op[BEGUN], op[HEIGHT]), words(op[DONE], op[HEIGHT]), op[CURRENT]
    height, rows, pitch = op[HEIGHT], op[ROWS], 4 * op[PITCH]
    row_bytes = op[WIDTH] * op[CHANNELS] * (4 if op[FORMAT] == FLOATS else 1)
    still, narrow = op[SOURCE_STEP] == 0, op[NARROW]
    again = op[START] if not still and op[FORM] >= 0 and op[FORM] != ADAPTIVE else 0
    ready = 0
    for s in range(start, stop):
        for frame in range(1 if still else op[STEPS]):
            source = op[SOURCE] + s * op[SOURCE_SAMPLE] + frame * op[SOURCE_STEP]
            target = op[TARGET] + s * op[TARGET_SAMPLE] + frame * op[TARGET_STEP]
            ready, fired = (ready if again else 0), 0
            for y in range(height):
                while ready < (rows if y == height - 1 else begun[y]):
                    start_row(op, current + ready * pitch)
                    ready += 1
                if narrow != WIDE:
                    receive_narrow_row(op, source + y * row_bytes, y, current)
                else:
                    receive_row(op, source + y * row_bytes, y, current)
                while fired < done[y]:
                    if narrow == BYTES:
                        scale_row(op, current + fired * pitch)
                    for t in range(op[STEPS] if still else 1):
                        onto = target + t * op[TARGET_STEP]
                        _emit(op, state_bytes, current + fired * pitch, first + s, fired, onto, again)
                    fired += 1


@kernel
def _emit(op, state_bytes, current, sample, y, target, again):  # type: ignore[no-untyped-def]
    """A row of the current becomes spikes, or is the value itself; neurons then begin it anew with what is at `again`, if that is not 0."""
    row = op[ROW]
    if op[FORM] < 0:
        copy(current, target + 4 * y * row, 4 * row)
    elif op[FORM] == ADAPTIVE:
        shift = sample * state_bytes
        fire_adaptive(op, current, op[STATE] + shift, op[STATE_2] + shift, op[STATE_3] + shift, target, row)
    else:
        fire_or_integrate(op, current, sample * state_bytes, target, y * row, row, again)


@kernel
def _neurons(op, state_bytes, first, start, stop):  # type: ignore[no-untyped-def]
    """Neurons by themselves; spikes and counts that arrive become a current first."""
    for s in range(start, stop):
        for t in range(op[STEPS]):
            source = op[SOURCE] + s * op[SOURCE_SAMPLE] + t * op[SOURCE_STEP]
            target = op[TARGET] + s * op[TARGET_SAMPLE] + t * op[TARGET_STEP]
            if op[FORMAT] != FLOATS:
                widen(op, source, op[CURRENT])
                source = op[CURRENT]
            _emit(op, state_bytes, source, first + s, 0, target, 0)


@kernel
def _loop(op, state_bytes, first, start, stop):  # type: ignore[no-untyped-def]
    """Neurons whose spikes return through a linear synapse one step later: `OTHER` is what returns next."""
    size = op[ROW]
    current = floats(op[CURRENT], size)
    for s in range(start, stop):
        returning = op[OTHER] + (first + s) * state_bytes
        back = floats(returning, size)
        for t in range(op[STEPS]):
            x = floats(op[SOURCE] + s * op[SOURCE_SAMPLE] + t * op[SOURCE_STEP], size)
            target = op[TARGET] + s * op[TARGET_SAMPLE] + t * op[TARGET_STEP]
            for m in range(size):
                current[m] = x[m] + back[m]
            _emit(op, state_bytes, op[CURRENT], first + s, 0, target, 0)
            start_row(op, op[SUMMED])
            receive_row(op, target, 0, op[SUMMED])
            copy(op[SUMMED], returning, 4 * size)


@kernel
def _read(op, state_bytes, first, start, stop):  # type: ignore[no-untyped-def]
    """The mean over the steps so far, straight to where the caller wants it."""
    size = op[SIZE]
    for s in range(start, stop):
        sums = floats(op[STATE] + (first + s) * state_bytes, size)
        steps = words(op[STATE_2] + (first + s) * state_bytes, 1)
        for t in range(op[STEPS]):
            source = op[SOURCE] + s * op[SOURCE_SAMPLE] + t * op[SOURCE_STEP]
            widen(op, source, op[CURRENT])
            x = floats(op[CURRENT], size)
            mean = floats(op[TARGET] + s * op[TARGET_SAMPLE] + t * op[TARGET_STEP], size)
            steps[0] += 1
            seen = np.float32(steps[0])
            for m in range(size):
                sums[m] += x[m]
                mean[m] = sums[m] / seen


@kernel
def _frames(op, first, start, stop):  # type: ignore[no-untyped-def]
    """A kernel without memory, for each frame by itself."""
    kind = op[KIND]
    from_ = first if kind == LOAD else 0
    onto = first if kind == STORE else 0
    for s in range(start, stop):
        for t in range(op[STEPS]):
            source = op[SOURCE] + (from_ + s) * op[SOURCE_SAMPLE] + t * op[SOURCE_STEP]
            other = op[OTHER] + s * op[OTHER_SAMPLE] + t * op[OTHER_STEP]
            target = op[TARGET] + (onto + s) * op[TARGET_SAMPLE] + t * op[TARGET_STEP]
            if kind in (LOAD, STORE, TURN):
                turn(op, source, target)
            elif kind == LIST:
                list_active(op, source, target)
            elif kind == POOL:
                pool(op, source, target)
            elif kind == SPREAD:
                spread(op, source, target)
            elif kind == ADD:
                add(op, source, other, target)
            elif kind == ELEMENT:
                element(op, source, target)
            elif kind == AND:
                both(op, source, other, target)
            elif kind == SLICE:
                part(op, source, target)
            elif kind == SUM:
                total(op, source, target)
            elif kind == ATTEND:
                third = op[THIRD] + s * op[THIRD_SAMPLE] + t * op[THIRD_STEP]
                attend(op, source, other, third, op[CURRENT], floats(op[RATE], 1)[0], target)


@kernel
def play_line(op, state_bytes, first, samples):  # type: ignore[no-untyped-def]
    """Play a line for the `samples` samples from `first` on, and all their time steps."""
    if op[KIND] == TILED:
        for tile in range(op[TILES]):
            sum_tile(op, state_bytes, first, samples, tile)
    else:
        _play_samples(op, state_bytes, first, 0, samples)


@kernel
def _play_samples(op, state_bytes, first, start, stop):  # type: ignore[no-untyped-def]
    """Play a line for those from `start` to `stop` of the samples from `first` on."""
    kind = op[KIND]
    if kind == SYNAPSE:
        if op[BLOCK] > 0:
            _one_place(op, state_bytes, first, start, stop)
        else:
            _synapse(op, state_bytes, first, start, stop)
    elif kind == NEURON:
        _neurons(op, state_bytes, first, start, stop)
    elif kind == LOOP:
        _loop(op, state_bytes, first, start, stop)
    elif kind == READ:
        _read(op, state_bytes, first, start, stop)
    else:
        _frames(op, first, start, stop)


@kernel
def begin(first, samples, before, after, state_bytes):  # type: ignore[no-untyped-def]
    """Give samples the states from which they start."""
    copy(before + first * state_bytes, after + first * state_bytes, samples * state_bytes)


@kernel
def play(tape, batch, group, before, after, state_bytes):  # type: ignore[no-untyped-def]
    """Play all lines of the tape for `batch` samples, `group` of them at a time.

    Samples start from the states at `before`, and leave them at `after`, `state_bytes` for each.
    """
    for first in range(0, batch, group):
        samples = min(group, batch - first)
        begin(first, samples, before, after, state_bytes)
        for line in range(tape.shape[0]):
            play_line(tape[line], state_bytes, first, samples)


@kernel
def play_together(tape, batch, group, before, after, state_bytes, claims):  # type: ignore[no-untyped-def]
    """`play` by several threads at once, each with a copy of the tape that has places of its own to sum at.

    A tiled synapse is played tile by tile, everything else sample by sample: whoever comes next takes the next piece.
    `claims` is the address of `(group, 1 + line, taken and done)`, int64, which count from 0 and are the same for all.
    """
    number = 0
    for first in range(0, batch, group):
        samples = min(group, batch - first)
        for line in range(-1, tape.shape[0]):
            taken, pieces = claims + 16 * number, samples
            if line >= 0 and tape[line, KIND] == TILED:
                pieces = tape[line, TILES]
            piece = claim(taken)
            while piece < pieces:
                if line < 0:
                    begin(first + piece, 1, before, after, state_bytes)
                elif tape[line, KIND] == TILED:
                    sum_tile(tape[line], state_bytes, first, samples, piece)
                else:
                    _play_samples(tape[line], state_bytes, first, piece, piece + 1)
                claim(taken + 8)
                piece = claim(taken)
            wait(taken + 8, pieces)
            number += 1
