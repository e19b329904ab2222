"""synfire itself, with one thread or two, as a worker that was granted them computes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from synfire.bench.baselines.baseline import THREADS, Baseline, Call, threads
from synfire.bench.frameworks import ENGINE, Case
from synfire.engines import ENGINES, Program
from synfire.ops import Array, Signal


class Own(Baseline):
    """The case's graph on synfire's engine for processors.

    Settings: one thread or two. Where these gain nothing within a sample (`Program.calls`), each answers a part of the batch, as
    a worker's do; a single sample is one thread's then.
    """

    name = "synfire"

    def settings(self, case: Case) -> Iterator[tuple[str, Call]]:
        for number in THREADS:
            program = ENGINES[ENGINE]().build(case.graph)
            program.grant(number)
            parts = min(program.calls, case.batch)
            if parts > 1:
                yield f"{threads(number)}, {case.batch // parts} samples each", _Divided(program, case, parts)
            elif number == 1 or program.calls == 1:
                yield threads(number), _Whole(program, case)


class _Whole:
    """All requests in one call."""

    def __init__(self, program: Program, case: Case) -> None:
        self._program, self._inputs, self._batch, self._steps = program, case.inputs, case.batch, case.steps

    def __call__(self) -> dict[str, Array]:
        return _run(self._program, self._inputs, self._batch, self._steps)


class _Divided:
    """The requests in as many parts as threads, the caller's among them."""

    def __init__(self, program: Program, case: Case, parts: int) -> None:
        self._program, self._inputs, self._steps = program, case.inputs, case.steps
        self._bounds = [case.batch * k // parts for k in range(parts + 1)]
        self._others = ThreadPoolExecutor(parts - 1)

    def __call__(self) -> dict[str, Array]:
        others = [self._others.submit(self._part, k) for k in range(1, len(self._bounds) - 1)]
        found = [self._part(0), *(other.result() for other in others)]
        signals = self._program.outputs
        return {name: np.concatenate([each[name] for each in found], _axis(signals[name])) for name in signals}

    def _part(self, number: int) -> dict[str, Array]:
        start, end = self._bounds[number : number + 2]
        inputs = {
            name: array[:, start:end] if _axis(self._program.inputs[name]) else array[start:end]
            for name, array in self._inputs.items()
        }
        return _run(self._program, inputs, end - start, self._steps)


def _run(program: Program, inputs: Mapping[str, Array], batch: int, steps: int) -> dict[str, Array]:
    return program.run(program.initial_state(batch), inputs, steps)[1]


def _axis(signal: Signal) -> int:
    """Along which samples lie: behind time, where there is time."""
    return 1 if signal.timed else 0
