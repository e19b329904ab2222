"""Runs one stage, or one whole model, on a device."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from synfire.base.registry import Registry
from synfire.devices import Cores
from synfire.devices.mending import FaultOrder, Mending
from synfire.graph import Graph
from synfire.ops import Array, Signal, State

PROCESSOR = "cpu"
"""The device that every worker has, and its engine, which takes over from others and is what they are compared with."""


class Program(ABC):
    """A stage built for a device: pure steps over explicit state, whole blocks of time steps at a call.

    A program holds parameters and nothing of any request. As many threads as `calls` says may call it at a time.
    """

    calls: int = 1

    joins: bool = True
    """Whether requests that wait are computed together, as one batch. Known once it is warm."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.inputs: Mapping[str, Signal] = graph.inputs
        self.outputs: Mapping[str, Signal] = graph.output_signals()

    @abstractmethod
    def initial_state(self, batch: int) -> State:
        """The state of `batch` fresh requests, in the program's own layout: name → array whose first axis is the batch."""

    @abstractmethod
    def run(self, state: State, inputs: Mapping[str, Array], steps: int) -> tuple[State, dict[str, Array]]:
        """Advance by `steps` time steps: `(state, inputs) → (state, outputs)`. Pure.

        Arrays are `(steps, batch, *shape)`, or `(batch, *shape)` on the request clock. Inputs on the request clock are
        passed with the first block of a request and left out of later ones: the state holds what is needed of them.
        Outputs on the request clock are returned with that first block only. A new value on the request clock
        with a state that is not fresh starts the session's next request: encoders and membranes go on from there.
        Any split of the steps into blocks, and of the requests into batches, gives the same bits.
        """

    def portable(self, state: State) -> State:
        """The state as it travels, the same however operators are grouped: `operator/name` → `(batch, *shape)`, channels first.

        The default suits programs that keep it so.
        """
        return state

    def own(self, portable: State) -> State:
        """The inverse of `portable`."""
        return portable

    def grant(self, threads: int) -> None:  # noqa: B027  (most programs know nothing of threads)
        """Let it use so many threads, the callers' among them: in each call, or one in each of as many calls. Before its first call.

        The default uses its caller's alone.
        """

    @property
    def summed(self) -> tuple[int, int]:
        """How many frames its synapses have summed event-driven, and how many densely, where either is possible. The default counts none."""
        return 0, 0

    def warm(self) -> None:  # noqa: B027  (an interpreter has nothing to warm)
        """Compile or load what the first block would otherwise wait for. The default has nothing to do."""


class DeviceProgram(Program):
    """A program on hardware that knows of its own faults, and on which what broke can be replaced.

    `run` raises `DeviceFault` when the hardware breaks meanwhile: nothing of that call counts, and after `mend` the same call
    gives what the sound device would have given. Faults that no hardware reports are found by `examine`.
    """

    corrects = False
    """Whether its memory mends flipped bits by itself, so that nothing needs to be computed twice for that."""

    @property
    def cores(self) -> Cores | None:
        """What it takes of its device; None where nobody counts cores."""
        return None

    @property
    @abstractmethod
    def ailing(self) -> bool:
        """Whether the device has reported a fault that was not mended yet. Cheap."""

    @abstractmethod
    def mend(self) -> Mending:
        """Replace what the device reports as broken, and prove that it answers right. Raises `DeviceLost` when it cannot be."""

    @abstractmethod
    def examine(self) -> Mending | None:
        """Do the device's known-answer tests, between two calls of `run`, and mend what answers wrong; None when all is well.

        Raises `DeviceLost`.
        """

    @abstractmethod
    def inject(self, fault: FaultOrder) -> str:
        """Break something on purpose, on an emulated device; return what, in words.

        Raises `UserError` for a fault or a place that the device does not have, and changes nothing then.
        """


class Engine(ABC):
    """Builds programs for one device."""

    name: ClassVar[str]
    device: ClassVar[str] = PROCESSOR
    """The kind of hardware that it runs on."""
    exact: ClassVar[bool] = True
    """Whether it gives the bits of the exact engines. One that does not is compared with them where it is hosted."""
    format: ClassVar[str] = "float32"
    """How it keeps weights."""
    version: ClassVar[int] = 1
    """Of its portable states: counts up with each change of their layout, so that no older checkpoint is taken for a state."""

    @classmethod
    def refusal(cls, graph: Graph) -> str:
        """Why it is of no use for a flat, simplified graph; empty where it is. What its device refuses is asked of that."""
        return ""

    @classmethod
    def remarks(cls, graph: Graph) -> Mapping[str, str]:
        """What is to be known of operators of a flat graph that it runs in an unusual way, such as elsewhere than on its device."""
        return {}

    @classmethod
    def parameter_bytes(cls, graph: Graph) -> int:
        """What the graph's parameters take as it keeps them."""
        return sum(graph.operator(name).parameter_bytes for name in graph)

    @classmethod
    def installed(cls) -> Engine:
        """The engine as a worker uses it, with what it keeps under SYNFIRE_HOME."""
        return cls()

    @abstractmethod
    def build(self, graph: Graph) -> Program:
        """The program of a flat graph. Raises `UserError` for an operator that this engine cannot run."""


ENGINES: Registry[type[Engine]] = Registry("engine", "synfire.engines", "synfire.engines")


def merge_states(states: Sequence[State]) -> State:
    """One state for the requests of all `states`, in order, along the batch axis."""
    if len(states) == 1:
        return states[0]
    return {name: np.concatenate([each[name] for each in states]) for name in states[0]}


def split_state(state: State, sizes: Sequence[int]) -> list[State]:
    """The inverse of `merge_states`, for states of `sizes` requests each."""
    if len(sizes) == 1:
        return [state]
    parts: list[State] = [{} for _ in sizes]
    bounds = list(itertools.accumulate(sizes, initial=0))
    for name, array in state.items():
        for part, start, end in zip(parts, bounds[:-1], bounds[1:], strict=True):
            part[name] = array[start:end]
    return parts
