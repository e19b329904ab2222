"""The tape: one line of whole numbers an operator, which the compiled program reads.

A line says which kernel runs, where it reads and writes, and what it needs to know. `SOURCE`, `OTHER`, `THIRD` and `TARGET`
each take three places: an address, and the bytes from one sample and from one time step to the next (0 for a value
that stays the same). Other places hold sizes, choices, and addresses of weights, tables and scratch memory.
"""

from __future__ import annotations

from pathlib import Path

from synfire.base.compiled import compiled_together

_SOURCES = ("*kernels.py", "claims.py", "player.py", "tape.py", "vectors.py")
kernel = compiled_together(*(file for each in _SOURCES for file in Path(__file__).parent.glob(each)))
"""Decorator: compile this part of the program that plays tapes."""

(
    LOAD, STORE, SYNAPSE, NEURON, LOOP, POOL, ADD, AND, TURN, SLICE, SUM, ATTEND, READ, LIST, TILED, SPREAD, ELEMENT,
) = range(17)  # fmt: skip
"""The kernels."""

SPIKES, COUNTS, FLOATS, WHOLE = range(4)
"""Formats: bytes of 0 or 1, bytes up to 255, float32, int32 (outside of the program only)."""

IF, DECAY_DIVIDE, DECAY, LEAK_DIVIDE, LEAK, KEEP, ADAPTIVE, INTEGRATING = range(8)
"""How a membrane is charged: see `synfire.engines.cpu.neuron_kernels`, and `integrating_kernels` for the last one."""

WIDE, BYTES, HALVES = range(3)
"""What weights are kept as: float32, whole numbers of one byte, bfloat16."""

MAXIMUM, TOTAL, MEAN = range(3)
"""What becomes of a window."""

PRODUCT, OFFSET, OVER = range(3)
"""What becomes of a number, by its parameter: it is multiplied by it, it is added, or it is looked whether it is at least that."""

PLACES_OF_A_LINE = 68

(
    KIND,
    STEPS,  # time steps of the target: those of the block, or 1
    SOURCE, SOURCE_SAMPLE, SOURCE_STEP,
    OTHER, OTHER_SAMPLE, OTHER_STEP,
    THIRD, THIRD_SAMPLE, THIRD_STEP,
    TARGET, TARGET_SAMPLE, TARGET_STEP,
    FORMAT, OTHER_FORMAT, TARGET_FORMAT,
    HEIGHT, WIDTH, CHANNELS,  # of the source, channels last
    ROWS, ROW,  # of the target: rows, numbers in a row
    START, PITCH,  # of the current: a row without any input, numbers from row to row
    SIZE,  # numbers of a frame
    BEGUN, DONE,  # rows of the current that are begun with, and done after, each row of the input
    CURRENT, SUMMED,  # where it is summed, and where what returns of a loop is
    WEIGHT, ACROSS,  # bytes from one input channel's weights to the next
    LINE_INDEX, LINES, RUN_INDEX, RUNS,  # where inputs go; see `synfire.engines.cpu.reach`
    ACTIVE, FACTORS,  # the active inputs of a row: int32, float32
    ENTRIES, VALUES,  # of a list: where the active inputs begin in it, and what to multiply their weights by
    TILE, TILES, TILE_BYTES, BLOCK,  # outputs of a tile, tiles, weights of one; inputs at a time: see `tiled_kernels`
    FORM, HARD, EACH, FIRES_AT, THRESHOLD, RESTS_AT, RATE,  # EACH: whether parameters are one per neuron
    BASE, SLOPE,  # of an adaptive threshold
    PARAMETERS, PARAMETER_BYTES,  # of what integrates, or of each number; bytes from row to row
    CHOICES, EXCEEDED,  # of what integrates; where it tells of large counts
    STATE, STATE_2, STATE_3,  # addresses of what the first sample's neurons remember
    REDUCE, DIVISORS,
    NARROW, SCALE, BIAS,  # how weights are kept, and what makes float32 of sums of bytes: see `narrow_kernels`
    DENSE, ENTER, LEAVE,  # whether the last frames were summed densely, and from which density on: see `dense_kernels`
    COUNTED,  # where frames that were summed are counted, by kernel: event-driven, dense
) = range(PLACES_OF_A_LINE)  # fmt: skip
"""The places of a line."""
