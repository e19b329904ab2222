"""A stage on a GPU: whole blocks of steps, kernel after kernel, with time folded into the batch where nothing is remembered."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from synfire.base.errors import UserError
from synfire.devices.mending import DeviceFault, DeviceLost, FaultOrder, Mending
from synfire.engines.cuda import table
from synfire.engines.cuda.hardware import Gpu, Hardware, Tensors
from synfire.engines.cuda.recording import Record, Recorder, record
from synfire.engines.cuda.schedule import parts_of, remembered
from synfire.engines.cuda.step import Step, lower
from synfire.engines.engine import DeviceProgram
from synfire.engines.reference import ReferenceProgram, held_sources
from synfire.graph import Graph
from synfire.ops import Array, State

_STATE, _VALUE = "state/", "value/"


class CudaProgram(DeviceProgram):
    """Runs a flat graph on `here`. States have the layout of the reference engine, and lie on the host between blocks.

    A GPU that has failed cannot be mended within its process: `mend` raises `DeviceLost`, and the stage goes elsewhere.
    """

    def __init__(self, graph: Graph, here: Hardware, corrects: bool = False, recording: Record | None = None) -> None:
        super().__init__(graph)
        self.corrects = corrects
        self._here = here
        self._failed: tuple[float, str] | None = None
        signals = graph.signals()
        with here.working():
            self._once = {name: self._request_step(name) for name in graph.order() if not signals[name].timed}
            self._parts = parts_of(graph, here)
        self._delayed = remembered(self._parts)
        self._held = held_sources(graph)
        self._fresh = ReferenceProgram(graph)
        self._timed = tuple(name for name, signal in self.inputs.items() if signal.timed)
        self._emitted = tuple(dict.fromkeys(source for source in graph.outputs.values() if signals[source].timed))
        self._recorder: Recorder | None = None
        recording = record(here) if recording is None and isinstance(here, Gpu) else recording
        if recording is not None and not any(part.on_host for part in self._parts):
            self._recorder = Recorder(self._advance, recording)

    def initial_state(self, batch: int) -> State:
        return self._fresh.initial_state(batch)

    def run(self, state: State, inputs: Mapping[str, Array], steps: int) -> tuple[State, dict[str, Array]]:
        if self._failed:
            raise DeviceFault(self._failed[1])
        try:
            with self._here.working():
                return self._run(state, inputs, steps)
        except DeviceFault as fault:
            self._failed = time.monotonic(), str(fault)
            raise

    def warm(self) -> None:
        """Compile every kernel on silence; a stage whose requests have a known number of steps is recorded, too."""
        signals, steps = self.graph.signals(), self.graph.steps or 1
        silent = {name: signals[name] for name in (*self._timed, *self._held) if table.shaped(signals[name])}
        state = self.initial_state(1) | {
            f"held/{name}": np.zeros((1, *silent[name].shape), silent[name].kind.dtype)
            for name in self._held
            if name in silent
        }
        values = {name: np.zeros((steps, 1, *silent[name].shape), silent[name].kind.dtype) for name in self._timed}
        for _ in range(2):
            self.run(state, values, steps)

    @property
    def ailing(self) -> bool:
        return self._failed is not None

    def mend(self) -> Mending:
        began_s, why = self._failed or (time.monotonic(), "the GPU was given up")
        raise DeviceLost("GPU failed", "the GPU", f"{why}; its process has to be started anew", began_s)

    def examine(self) -> Mending | None:
        return None

    def inject(self, fault: FaultOrder) -> str:
        raise UserError("a GPU is no emulated device, and nothing of it can be broken on purpose; name a darwin3 stage")

    def _run(self, state: State, inputs: Mapping[str, Array], steps: int) -> tuple[State, dict[str, Array]]:
        fresh = self._run_once(inputs)
        state = state | {f"held/{source}": fresh[source] for source in self._held if source in fresh}
        outputs = {name: fresh[source] for name, source in self.graph.outputs.items() if source in fresh}
        timed = {name: source for name, source in self.graph.outputs.items() if source in self._emitted}
        if not steps or not (self._parts or timed):
            return state, outputs
        arrays = {_STATE + name: array for name, array in state.items()}
        arrays |= {_VALUE + name: inputs[name] for name in self._timed}
        found = self._computed(arrays, steps)
        after = {name: found.get(_STATE + name, array) for name, array in state.items()}
        return after, outputs | {name: found[_VALUE + source] for name, source in timed.items()}

    def _computed(self, arrays: Mapping[str, Array], steps: int) -> dict[str, Array]:
        """A block, replayed where such a one was recorded."""
        recorded = self._recorder.find(arrays, steps) if self._recorder else None
        if recorded is not None:
            self._here.upload(arrays, into=recorded.given)
            recorded.replay()
            return self._here.download(recorded.found)
        given = self._here.upload(arrays)
        found = self._here.download(self._advance(given, steps))
        if self._recorder:
            self._recorder.seen(arrays, given, steps)
        return found

    def _advance(self, given: Tensors, steps: int) -> Tensors:
        """States and timed values before a block → states and outputs after it."""
        state = {name.removeprefix(_STATE): each for name, each in given.items() if name.startswith(_STATE)}
        held = {source: state.pop(f"held/{source}") for source in self._held}
        values = {source: each.expand(steps, *each.shape) for source, each in held.items()}
        values |= {name: given[_VALUE + name] for name in self._timed}
        for part in self._parts:
            part.run(state, values, steps)
        for arrival in self._delayed:
            arrival.remember(state, values)
        found = {_STATE + name: each for name, each in state.items()}
        return found | {_VALUE + source: values[source] for source in self._emitted}

    def _request_step(self, name: str) -> Step | None:
        """The GPU's step of an operator on the request clock; None for one that runs on the host."""
        operator, inputs, output = self.graph.operator(name), self.graph.signals_into(name), self.graph.signals()[name]
        if not table.has_kernel(operator) or not table.shaped(*inputs, output):
            return None
        return lower(operator, inputs, output, self._here)

    def _run_once(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """What stands on the request clock, if this is a request's first block."""
        fresh = {name: inputs[name] for name, signal in self.inputs.items() if not signal.timed and name in inputs}
        for name, step in self._once.items():
            sources = [each.source for each in self.graph.arriving(name)]
            if all(source in fresh for source in sources):
                fresh[name] = self._request(name, step, [fresh[source] for source in sources])
        return fresh

    def _request(self, name: str, step: Step | None, arrays: list[Array]) -> Array:
        if step is None:
            return self.graph.operator(name).step({}, *arrays)[1]
        given = self._here.upload({str(port): array[None] for port, array in enumerate(arrays)})
        return self._here.download({name: step.run({}, list(given.values()), 1)[1][0]})[name]
