"""Computing twice: a bit that flips while a program runs shows in nothing but its results, and a second run has others.

Engines give the same bits whenever they are given the same, so two runs that differ are not both right. A bit that stays wrong is
wrong in both runs: that is for known-answer tests to find.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from synfire.engines import DeviceProgram
from synfire.ops import Array
from synfire.worker.job import Job, Outcome
from synfire.worker.settings import Twice

MOST_UNLIKE = 3
"""After so many pairs of unlike runs of one job, nothing that the worker computes is to be believed."""


def needed(twice: Twice, job: Job) -> bool:
    """Whether the job is to be computed twice."""
    program = job.stage.program
    return twice == "always" or (twice == "devices" and isinstance(program, DeviceProgram) and not program.corrects)


def alike(one: Sequence[Outcome], other: Sequence[Outcome]) -> bool:
    """Whether two runs of a job have given the same bits, or the same errors."""
    return all(map(_alike, one, other))


def _alike(one: Outcome, other: Outcome) -> bool:
    if one.error is not None or other.error is not None:
        return repr(one.error) == repr(other.error)
    return _same_bits(one.state, other.state) and _same_bits(one.outputs, other.outputs)


def _same_bits(one: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)


def _same(one: Array, other: Array) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return bool(np.array_equal(_octets(one), _octets(other)))


def _octets(array: Array) -> Array:
    octets: Array = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return octets
