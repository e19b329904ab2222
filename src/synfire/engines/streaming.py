"""Engines that answer many calls at a time, each in parts as they come: hosts of whole models."""

from __future__ import annotations

import select
from abc import abstractmethod
from collections.abc import Callable, Hashable, Mapping
from typing import ClassVar, NamedTuple

import numpy as np

from synfire.base.errors import SynfireError
from synfire.engines.engine import Engine, Program
from synfire.engines.profiles.profile import LATENCY
from synfire.graph import Graph
from synfire.ops import Array, State
from synfire.ops.language_model import LanguageModel


class Given(NamedTuple):
    """A part of the answer to `call`: its outputs, of one step, or an error that ends it."""

    call: str
    outputs: Mapping[str, Array]
    last: bool = False
    error: SynfireError | None = None


class StreamingProgram(Program):
    """A stage that a process of its own computes, for several calls at a time.

    It never blocks: `begin` a call, wait until `fileno` can be read, take what there `given` is. So whoever hosts it watches it
    beside its connections, in one thread, and needs neither threads nor tasks for it. `warm` starts the process, `rest` ends it and
    gives its memory back; after that it may be warmed again.
    """

    def initial_state(self, batch: int) -> State:
        """It keeps no state: a call has all that it needs."""
        return {}

    @property
    @abstractmethod
    def capacity(self) -> int:
        """How many calls it works on at a time; more wait."""

    @abstractmethod
    def fileno(self) -> int:
        """A descriptor that can be read while there may be something `given`. It changes when the program is warmed again."""

    @abstractmethod
    def begin(self, call: str, inputs: Mapping[str, Array]) -> None:
        """Take a call. What is wrong with it is given as an error."""

    @abstractmethod
    def cancel(self, call: str) -> None:
        """Nobody waits for the call any more; one that is over is no error."""

    @abstractmethod
    def given(self) -> list[Given]:
        """What has come since. Raises `DeviceLost` when the process has ended."""

    @abstractmethod
    def gather(self, quiet: bool) -> None:
        """While `quiet`, have `fileno` tell of nothing but what shall not wait: the end of an answer, and of the process."""

    @abstractmethod
    def rest(self) -> None:
        """End the process, and forget its calls. Resting twice is no error."""

    def run(self, state: State, inputs: Mapping[str, Array], steps: int) -> tuple[State, dict[str, Array]]:
        """The whole answer to one call, alone, however many steps it takes. Raises what ends it, and `DeviceLost`."""
        self.warm()
        self.begin(_ALONE, inputs)
        parts: list[Mapping[str, Array]] = []
        last = False
        while not last:
            select.select([self.fileno()], [], [])
            for each in self.given():
                if each.error is not None:
                    raise each.error
                parts.append(each.outputs)
                last = each.last
        return {}, {name: np.concatenate([part[name] for part in parts]) for name in self.outputs}


class WholeEngine(Engine):
    """Builds programs for whole models alone: streaming ones, or others. What they compute is not compared with other engines' bits."""

    exact = False

    rank: ClassVar[int] = 0
    """Of several that run a model, the one with the lowest is the usual one."""

    goal: ClassVar[str] = LATENCY
    """What it is best at."""

    @classmethod
    def standing(cls) -> int:
        """The rank that it has here and now; see `rank`."""
        return cls.rank

    @classmethod
    def precision(cls, graph: Graph) -> str:
        """How it keeps the weights of this model; without more it is as the engine keeps all."""
        return cls.format

    @classmethod
    def whole_bytes(cls, graph: Graph) -> int:
        """What it takes to run a flat graph's model, beside the worker itself."""
        return sum(
            each.memory_bytes if isinstance(each, LanguageModel) else each.parameter_bytes
            for each in map(graph.operator, graph)
        )

    @classmethod
    def build_ahead(cls, graph: Graph, tell: Callable[[str, float], None]) -> None:
        """Make, once, what it needs of a flat graph's model, and keep it; `tell` is told what is done, and the share of it that is."""

    @classmethod
    def shared(cls, graph: Graph) -> Hashable:
        """Models of which this is equal share their weights where they are on one worker; None for those that share nothing."""
        return None


_ALONE = "alone"
