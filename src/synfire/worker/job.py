"""One call of a program: a block of time steps of one request, or of several that wait at the same stage."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from synfire.base.errors import Bug
from synfire.devices.mending import DeviceFault
from synfire.engines import Program, merge_states, split_state
from synfire.ops import Array, Signal, State
from synfire.worker.stage import Block, Stage, Visit


class Outcome(NamedTuple):
    """What became of one visit's block: its next state and its outputs, or an error."""

    state: State
    outputs: Mapping[str, Array]
    error: Exception | None = None


@dataclass(frozen=True)
class Job:
    """Blocks of equal length, one for each visit, and their inputs. Holds what `run` needs, so any thread may run it."""

    stage: Stage
    visits: tuple[Visit, ...]
    blocks: tuple[Block, ...]
    states: tuple[State, ...]
    inputs: tuple[Mapping[str, Array], ...]

    def run(self) -> tuple[list[Outcome], float]:
        """Compute all blocks, together where they are several; return an outcome for each, and the seconds it took.

        When the joint call fails, each block is run alone, so that one bad request harms no other. Raises `DeviceFault` when
        the device breaks: nothing of the job counts then, and it can be run again.
        """
        program = self.stage.program
        if program is None:
            raise Bug(f"stage {self.stage.name} is computed by a foreign service, not here")
        began_s = time.perf_counter()
        outcomes = _run(program, self.states, self.inputs, self.blocks[0].steps, [v.batch for v in self.visits])
        return outcomes, time.perf_counter() - began_s


def _run(
    program: Program, states: Sequence[State], inputs: Sequence[Mapping[str, Array]], steps: int, sizes: Sequence[int]
) -> list[Outcome]:
    try:
        state, outputs = program.run(merge_states(states), _merge(program.inputs, inputs), steps)
    except DeviceFault:
        raise
    except Exception as error:  # whatever an engine raises belongs to the request, not to the worker
        if len(states) == 1:
            return [Outcome({}, {}, error)]
        return [
            _run(program, [one], [given], steps, [size])[0]
            for one, given, size in zip(states, inputs, sizes, strict=True)
        ]
    parts = split_state(state, sizes)
    return [Outcome(one, given) for one, given in zip(parts, _split(program.outputs, outputs, sizes), strict=True)]


def _merge(signals: Mapping[str, Signal], inputs: Sequence[Mapping[str, Array]]) -> Mapping[str, Array]:
    if len(inputs) == 1:
        return inputs[0]
    return {
        name: np.concatenate([each[name] for each in inputs], axis=1 if signals[name].timed else 0)
        for name in inputs[0]
    }


def _split(
    signals: Mapping[str, Signal], outputs: Mapping[str, Array], sizes: Sequence[int]
) -> list[Mapping[str, Array]]:
    if len(sizes) == 1:
        return [outputs]
    parts: list[Mapping[str, Array]] = []
    start = 0
    for size in sizes:
        end = start + size
        parts.append(
            {
                name: np.ascontiguousarray(array[:, start:end]) if signals[name].timed else array[start:end]
                for name, array in outputs.items()
            }
        )
        start = end
    return parts
