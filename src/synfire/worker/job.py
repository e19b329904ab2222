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


class Whole(NamedTuple):
    """What a job gave for several visits: `sizes` samples for each, along the second axis of those that are `timed`, else the first."""

    outputs: Mapping[str, Array]
    sizes: tuple[int, ...]
    timed: frozenset[str]


class Outcome(NamedTuple):
    """What became of one visit's block: its next state and its outputs, or an error.

    Outputs that were computed together with others are views into the `whole`.
    """

    state: State
    outputs: Mapping[str, Array]
    error: Exception | None = None
    whole: Whole | None = None


@dataclass(frozen=True)
class Job:
    """Blocks of equal length, one for each visit, and their inputs. Holds what `run` needs, so any thread may run it."""

    stage: Stage
    visits: tuple[Visit, ...]
    blocks: tuple[Block, ...]
    states: tuple[State, ...]
    inputs: tuple[Mapping[str, Array], ...]

    @property
    def samples(self) -> int:
        """How many samples it computes."""
        return sum(visit.batch for visit in self.visits)

    def part(self, which: slice) -> Job:
        """The job of some of the visits."""
        return Job(self.stage, self.visits[which], self.blocks[which], self.states[which], self.inputs[which])

    def run(self) -> tuple[list[Outcome], float]:
        """Compute all blocks, together where they are several; return an outcome for each, and the seconds it took.

        When the joint call fails, each block is run alone, so that one bad request harms no other. Raises `DeviceFault` when
        the device breaks: nothing of the job counts then, and it can be run again.
        """
        program = self.stage.program
        if program is None:
            raise Bug(f"stage {self.stage.name} is computed by a foreign service, not here")
        began_s = time.perf_counter()
        outcomes = self._outcomes(program)
        return outcomes, time.perf_counter() - began_s

    def _outcomes(self, program: Program) -> list[Outcome]:
        sizes = [visit.batch for visit in self.visits]
        try:
            state, outputs = program.run(
                self._state(program, sizes), _merge(program.inputs, self.inputs), self.blocks[0].steps
            )
        except DeviceFault:
            raise
        except Exception as error:  # whatever an engine raises belongs to the request, not to the worker
            if len(sizes) == 1:
                return [Outcome({}, {}, error)]
            return [self.part(slice(place, place + 1))._outcomes(program)[0] for place in range(len(sizes))]
        if len(sizes) == 1:
            return [Outcome(state, outputs)]
        timed = frozenset(name for name in outputs if program.outputs[name].timed)
        whole = Whole(outputs, tuple(sizes), timed)
        parts = zip(self._parted(state, sizes), _split(whole), strict=True)
        return [Outcome(one, given, whole=whole) for one, given in parts]

    def _parted(self, state: State, sizes: Sequence[int]) -> Sequence[State]:
        """The state of each visit; empty ones where nobody goes on from any."""
        if all(block.last and not visit.first.session for visit, block in zip(self.visits, self.blocks, strict=True)):
            return [{} for _ in sizes]
        return split_state(state, sizes)

    def _state(self, program: Program, sizes: Sequence[int]) -> State:
        """The state of all visits. Where all are at their beginning the program has it ready, and nothing is copied."""
        if len(sizes) > 1 and all(visit.fresh for visit in self.visits):
            return program.initial_state(sum(sizes))
        return merge_states(self.states)


def _merge(signals: Mapping[str, Signal], inputs: Sequence[Mapping[str, Array]]) -> Mapping[str, Array]:
    if len(inputs) == 1:
        return inputs[0]
    return {name: _joined(signals[name], [each[name] for each in inputs]) for name in inputs[0]}


def _joined(signal: Signal, arrays: Sequence[Array]) -> Array:
    """The batch of several requests; where their samples may differ in size, an array of arrays, as operators take it.

    It is filled one by one: samples that happen to be of one size would else become one array.
    """
    if -1 not in signal.shape:
        return np.concatenate(arrays, axis=1 if signal.timed else 0)
    samples = [sample for array in arrays for sample in array]
    joined = np.empty(len(samples), object)
    for place, sample in enumerate(samples):
        joined[place] = sample
    return joined


def _split(whole: Whole) -> list[Mapping[str, Array]]:
    parts: list[Mapping[str, Array]] = []
    start = 0
    for size in whole.sizes:
        end = start + size
        parts.append(
            {
                name: array[:, start:end] if name in whole.timed else array[start:end]
                for name, array in whole.outputs.items()
            }
        )
        start = end
    return parts
