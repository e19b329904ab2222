"""Engines that answer many calls at a time, each in parts as they come: hosts of whole models."""

from __future__ import annotations

import select
from abc import abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from synfire.base.errors import SynfireError
from synfire.engines.engine import Engine, Program
from synfire.ops import Array, State


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
    """Builds such programs, each for a whole model: its graph is one operator."""

    exact = False


_ALONE = "alone"
