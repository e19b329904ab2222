"""Rate encoding by seeded chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.axes import require_fixed, require_request
from synfire.ops.operator import Encoder, State, operator, require_kind
from synfire.ops.signal import Array, Clock, Kind, Signal

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@operator
@dataclass(frozen=True, eq=False)
class Bernoulli(Encoder):
    """S(t)[e] = [u(seed, t, e) < X[e]]: each element spikes with probability X, clamped to [0, 1], at each step.

    u is counter-based: with G = 0x9E3779B97F4A7C15, arithmetic modulo 2⁶⁴, and mix = SplitMix64's finaliser
    (doi:10.1145/2714064.2660195),

        key(t) = mix(seed + G·(t + 1)),    u(t, e) = (mix(key(t) + G·(e + 1)) >> 40) · 2⁻²⁴,

    t the sample's own step count and e the element's index in C order. So the bits depend on neither batch, cut nor
    frame size, and the same request gets the same answer. The state `step` is t, int64 `(batch,)`; a session goes on
    counting over its requests.
    """

    seed: int = 0

    def check(self) -> None:
        super().check()
        if not 0 <= self.seed < 2**63:
            raise UserError(f"Bernoulli.seed is {self.seed}; choose one from 0 to 2⁶³ − 1")

    def infer(self, *inputs: Signal) -> Signal:
        (x,) = inputs
        require_request("Bernoulli", x)
        require_fixed("Bernoulli", x)
        require_kind("Bernoulli", x, Kind.VALUE, Kind.SPIKE)
        return x.with_(kind=Kind.SPIKE, clock=Clock.STEP)

    def initial_state(self, batch: int, *inputs: Signal) -> State:
        return {"step": np.zeros(batch, np.int64)}

    def step(self, state: State, *inputs: Array) -> tuple[State, Array]:
        (x,) = inputs
        chance = uniform(self.seed, state["step"], int(np.prod(x.shape[1:]))).reshape(x.shape)
        return {"step": state["step"] + 1}, (chance < x).astype(np.uint8)


def uniform(seed: int, steps: Array, elements: int) -> Array:
    """u of `Bernoulli` for each of `steps` `(batch,)`: `(batch, elements)` float32 in [0, 1)."""
    with np.errstate(over="ignore"):
        key = _mix(np.uint64(seed) + _GOLDEN * (steps.astype(np.uint64) + np.uint64(1)))
        counter = _GOLDEN * np.arange(1, elements + 1, dtype=np.uint64)
        bits = _mix(key[:, None] + counter[None, :]) >> np.uint64(40)
    return bits.astype(np.float32) * np.float32(2.0**-24)


def _mix(z: Array) -> Array:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
