"""The conformance suite finds every kind of broken promise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from synfire.ops import Array, Kind, Operator, Signal, State, Stateless
from synfire.testing.operators import check_operator

SIGNAL = Signal((3,))


@dataclass(frozen=True, eq=False)
class Rogue(Operator):
    """Y = X + total, the sum of what came before: right, but for what a subclass breaks."""

    gain: float = 1.0

    def infer(self, *inputs: Signal) -> Signal:
        return inputs[0]

    def initial_state(self, batch: int, *inputs: Signal) -> State:
        return {"total": np.zeros((batch, *inputs[0].shape), np.float32)}

    def step(self, state: State, *inputs: Array) -> tuple[State, Array]:
        total = state["total"] + inputs[0]
        return {"total": total}, total


class NoEquation(Rogue):
    """Adds."""


class ChangesItsState(Rogue):
    """Y = X."""

    def step(self, state: State, *inputs: Array) -> tuple[State, Array]:
        state["total"] += inputs[0]
        return {"total": state["total"].copy()}, state["total"].copy()


class ChangesItsInput(Rogue):
    """Y = X."""

    def step(self, state: State, *inputs: Array) -> tuple[State, Array]:
        inputs[0][:] = 0
        return state, inputs[0]


@dataclass(frozen=True, eq=False)
class Remembers(Stateless):
    """Y = X, a little more each time."""

    calls: Any = field(default_factory=lambda: ())

    def infer(self, *inputs: Signal) -> Signal:
        return inputs[0]

    def apply(self, *inputs: Array) -> Array:
        object.__setattr__(self, "calls", (*self.calls, 1))
        return inputs[0] + np.float32(len(self.calls))


class MixesTheBatch(Rogue):
    """Y = X − mean of the batch."""

    def step(self, state: State, *inputs: Array) -> tuple[State, Array]:
        return state, inputs[0] - inputs[0].mean(axis=0)


class WrongDtype(Rogue):
    """Y = X in float64."""

    def step(self, state: State, *inputs: Array) -> tuple[State, Array]:
        return state, inputs[0].astype(np.float64)


class WrongShape(Rogue):
    """Y = X[0]."""

    def step(self, state: State, *inputs: Array) -> tuple[State, Array]:
        return state, inputs[0][:, 0]


class TwoIsASpike(Rogue):
    """S = 2."""

    def infer(self, *inputs: Signal) -> Signal:
        return inputs[0].with_(kind=Kind.SPIKE)

    def step(self, state: State, *inputs: Array) -> tuple[State, Array]:
        return state, np.full(inputs[0].shape, 2, np.uint8)


class StateWithoutRows(Rogue):
    """Y = X."""

    def initial_state(self, batch: int, *inputs: Signal) -> State:
        return {"total": np.zeros(inputs[0].shape[0] + 1, np.float32)}

    def step(self, state: State, *inputs: Array) -> tuple[State, Array]:
        return state, inputs[0]


class GrowingState(Rogue):
    """Y = X."""

    def step(self, state: State, *inputs: Array) -> tuple[State, Array]:
        return {"total": np.concatenate([state["total"], inputs[0]], axis=1)}, inputs[0]


class DependsOnLayout(Rogue):
    """Y = X + [X is in C order]."""

    def step(self, state: State, *inputs: Array) -> tuple[State, Array]:
        return state, inputs[0] + np.float32(inputs[0].flags.c_contiguous)


class KeepsAParameterToItself(Rogue):
    """Y = X · gain."""

    def parameters(self) -> dict[str, Array]:
        return {}

    def step(self, state: State, *inputs: Array) -> tuple[State, Array]:
        return state, inputs[0] * np.float32(self.gain)


class ForgetsItsContent(Rogue):
    """Y = X · gain."""

    def content_digest(self) -> str:
        return self.kind


class NotRegistered(Rogue):
    """Y = X."""


@pytest.mark.parametrize(
    ("rogue", "complaint"),
    [
        (NoEquation(), "shows no equation"),
        (ChangesItsState(), "does it change them"),
        (ChangesItsInput(), "does it change them"),
        (Remembers(), "does the operator remember"),
        (MixesTheBatch(), "for sample 0 alone"),
        (WrongDtype(), "returns float64, its shape rule says"),
        (WrongShape(), r"its shape rule says \(3, 3\)"),
        (TwoIsASpike(), "2 among its spikes"),
        (StateWithoutRows(), "without a row per sample"),
        (GrowingState(), "changes its layout"),
        (DependsOnLayout(), "column by column"),
        (KeepsAParameterToItself(gain=2.0), "rebuilt from attributes and parameters"),
        (ForgetsItsContent(), "not in the content digest"),
        (NotRegistered(), "decorate it with @operator"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Operator) else "",
)
def test_the_suite_names_the_broken_promise(rogue: Operator, complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check_operator(rogue, SIGNAL, rng=np.random.default_rng(0))
