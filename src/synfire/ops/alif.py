"""Adaptive leaky integrate-and-fire."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.ops.membrane import f32, fired, held, require_parameters_fit
from synfire.ops.operator import Operator, State, as_value, operator, stepwise
from synfire.ops.signal import Array, Kind, Signal


@operator
@dataclass(frozen=True, eq=False)
class ALIF(Operator):
    """A leaky integrate-and-fire neuron whose threshold B rises with its own spikes::

        b = ρ·b + (1 − ρ)·s
        B = b₀ + β·b
        u = α·u + (1 − α)·X − B·s
        S = [u ≥ B], or [u > B] when `strict`

    with s the neuron's own spikes one step before, and u, b, s = 0 at first; dt = 1 step, R is folded into the weights.
    A recurrent layer adds W_r·s to X through a delayed synapse, a Linear and an Add. Each parameter broadcasts to the input.
    Source: Yin, Corradi, Bohté 2021, doi:10.1038/s42256-021-00397-w (which is strict).
    """

    alpha: Array | float = 0.9
    rho: Array | float = 0.9
    b0: Array | float = 0.01
    beta: Array | float = 1.8
    strict: bool = False

    def infer(self, *inputs: Signal) -> Signal:
        require_parameters_fit(self, inputs[0])
        return inputs[0].with_(kind=Kind.SPIKE, clock=stepwise(*inputs))

    def initial_state(self, batch: int, *inputs: Signal) -> State:
        zero = held(0.0, batch, inputs[0])
        return {"u": zero, "b": zero.copy(), "s": zero.astype(np.uint8)}

    def step(self, state: State, *inputs: Array) -> tuple[State, Array]:
        x, s, one = as_value(inputs[0]), as_value(state["s"]), np.float32(1)
        alpha, rho = f32(self.alpha), f32(self.rho)
        b = rho * state["b"] + (one - rho) * s
        threshold = f32(self.b0) + f32(self.beta) * b
        u = alpha * state["u"] + (one - alpha) * x - threshold * s
        spikes = fired(u, threshold, self.strict).astype(np.uint8)
        return {"u": u, "b": b, "s": spikes}, spikes
