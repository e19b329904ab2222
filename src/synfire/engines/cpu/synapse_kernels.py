"""The compiled kernel of every synapse: event-driven, input by input, in the canonical summation order.

An active input adds its weights to all the outputs that it reaches. Inputs come in ascending order, channels last, so
each output's sum starts from the bias and takes its products in ascending input index, as the reference step has it.
To skip an input of zero is to leave out the addition of +0 or −0, and that changes no bit of a sum that is not −0. None is:
a bias of −0 is made +0 when the weights are laid out, and float32 addition gives −0 from two −0 only. So a synapse may as well
be summed densely, frame by frame (`dense_kernels`), and nothing depends on density but time.
"""

from __future__ import annotations

import numpy as np

from synfire.base.compiled import trailing_zeros
from synfire.engines.cpu.tape import (
    ACROSS,
    ACTIVE,
    CHANNELS,
    FACTORS,
    FLOATS,
    FORMAT,
    LINE_INDEX,
    LINES,
    PITCH,
    RUN_INDEX,
    RUNS,
    SPIKES,
    START,
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
    sum_rows,
    sum_scaled_rows,
    words,
)


@kernel
def start_row(op, out):  # type: ignore[no-untyped-def]
    """A row of the current without any input."""
    start, total = floats(op[START], op[PITCH]), floats(out, op[PITCH])
    for k in range(op[PITCH]):
        total[k] = start[k]


@kernel
def list_row(op, source, size, entries, values):  # type: ignore[no-untyped-def]
    """List the inputs of a row that are not 0, and what to multiply their weights by; how many."""
    active, factors, form = integers(entries, size), floats(values, size), op[FORMAT]
    small, large = octets(source, size), floats(source, size)
    count, one, together = 0, np.uint64(1), 16 if form == FLOATS else 64
    for first in range(0, size, together):
        mask = nonzero_floats(source + 4 * first) if form == FLOATS else nonzero_bytes(source + first)
        if size - first < together:
            mask &= (one << np.uint64(size - first)) - one
        while mask:
            place = first + trailing_zeros(mask)
            active[count] = place
            if form != SPIKES:
                factors[count] = large[place] if form == FLOATS else np.float32(small[place])
            count += 1
            mask &= mask - one
    return count


@kernel
def receive_row(op, source, y, out):  # type: ignore[no-untyped-def]
    """Add what row `y` of the input, at `source`, gives to the current `out`.

    A row of the input reaches some rows of the output ("lines", evenly spaced), a pixel of it some runs of pixels in each.
    Both tables hold byte offsets into current and weight; a run's number of vectors, too. See `synfire.engines.cpu.reach`.
    Pixels of few channels are looked through as many at a time as one test takes, rows of anything else are listed at once. It is one
    long loop because it is the hottest: with the body in a function of its own the nets of the zoo take a fifth longer.
    """
    line_index, lines = words(op[LINE_INDEX], 0), words(op[LINES], 0)
    run_index, runs = words(op[RUN_INDEX], 0), words(op[RUNS], 0)
    first, reached = line_index[y], line_index[y + 1] - line_index[y]
    if reached == 0:
        return
    down = lines[2 * first + 2] - lines[2 * first] if reached > 1 else 0
    along = lines[2 * first + 3] - lines[2 * first + 1] if reached > 1 else 0
    across, width, channels, form = op[ACROSS], op[WIDTH], op[CHANNELS], op[FORMAT]
    spikes, together = form == SPIKES, 16 if form == FLOATS else 64
    if width > 1 and channels <= together:
        active, factors, one = integers(op[ACTIVE], channels), floats(op[FACTORS], channels), np.uint64(1)
        abreast, item = together // channels, 4 if form == FLOATS else 1
        inside = ~np.uint64(0) >> np.uint64(64 - channels)
        inverse = 65536 // channels + 1  # times a number below 64, shifted by 16: that number divided by the channels
        for begin in range(0, width, abreast):
            at, size = source + begin * channels * item, min(abreast, width - begin) * channels
            mask = nonzero_floats(at) if form == FLOATS else nonzero_bytes(at)
            mask &= ~np.uint64(0) >> np.uint64(64 - size)
            while mask:
                beyond = trailing_zeros(mask) * inverse >> 16 if abreast > 1 else 0
                x, here = begin + beyond, beyond * channels
                bits = mask >> np.uint64(here) & inside
                mask ^= bits << np.uint64(here)
                small, large, number = octets(at + here, channels), floats(at + item * here, channels), 0
                while bits:
                    place = trailing_zeros(bits)
                    active[number] = place
                    if not spikes:
                        factors[number] = large[place] if form == FLOATS else np.float32(small[place])
                    number += 1
                    bits &= bits - one
                for run in range(run_index[x], run_index[x + 1]):
                    onto = out + runs[3 * run] + lines[2 * first]
                    rows, vectors = op[WEIGHT] + runs[3 * run + 1] + lines[2 * first + 1], runs[3 * run + 2]
                    if spikes:
                        sum_rows(onto, rows, op[ACTIVE], across, number, vectors, reached, down, along)
                    else:
                        values = op[FACTORS]
                        sum_scaled_rows(onto, rows, op[ACTIVE], across, values, number, vectors, reached, down, along)
        return
    count = list_row(op, source, width * channels, op[ACTIVE], op[FACTORS])
    active, here = integers(op[ACTIVE], count), 0
    while here < count:
        x, number = 0, count
        if width > 1:
            x = active[here] // channels
            end, number = (x + 1) * channels, 1
            while here + number < count and active[here + number] < end:
                number += 1
        entries, factors = op[ACTIVE] + 4 * here, op[FACTORS] + 4 * here
        for run in range(run_index[x], run_index[x + 1]):
            to, of, vectors = out + runs[3 * run], op[WEIGHT] + runs[3 * run + 1], runs[3 * run + 2]
            onto, rows = to + lines[2 * first], of + lines[2 * first + 1] - x * channels * across
            if spikes:
                sum_rows(onto, rows, entries, across, number, vectors, reached, down, along)
            else:
                sum_scaled_rows(onto, rows, entries, across, factors, number, vectors, reached, down, along)
        here += number
