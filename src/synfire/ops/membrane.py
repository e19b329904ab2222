"""What neurons share: how a membrane moves in one time step, when it fires, and what a spike leaves of it."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.axes import require_broadcast
from synfire.ops.operator import Operator
from synfire.ops.signal import Array, Kind, Signal

HARD, SOFT, NONE = "hard", "soft", "none"
RELAX, RELAX_LEAK_FIRST, DECAY, DECAY_SUM = "relax", "relax_leak_first", "decay", "decay_sum"
AT_FIRE, BEFORE_CHARGE, AFTER_CHARGE, TWICE = "fire", "before_charge", "after_charge", "twice"
SINGLE, MULTI = "single", "multi"


MOST_SPIKES = np.float32(2**31 - 128)
"""The largest float32 that an int32 count can hold; a network that runs away gets no further."""


def integrate(form: str, v: Array, x: Array, rate: Array, rest: Array) -> Array:
    """The membrane (or current) after one step. In float32, each operation rounded, in the order written::

    relax             V + rate · ((X + rest) − V)      Euler: rate = dt/τ; exact: rate = 1 − exp(−dt/τ)
    relax_leak_first  V + rate · ((rest − V) + X)
    decay             rate · V + X                     Euler: rate = 1 − dt/τ; exact: rate = exp(−dt/τ)
    decay_sum         rate · (V + X)
    """
    if form == RELAX:
        return v + rate * ((x + rest) - v)
    if form == RELAX_LEAK_FIRST:
        return v + rate * ((rest - v) + x)
    if form == DECAY:
        return rate * v + x
    return rate * (v + x)


def fired(h: Array, threshold: Array, strict: bool) -> Array:
    """Where the membrane is over the threshold; `strict` leaves out where it is equal."""
    return h > threshold if strict else h >= threshold


def after_spike(reset: str, spikes: Array, h: Array, threshold: Array, v_reset: Array) -> Array:
    """The membrane after firing: hard v_reset, soft H − threshold, none H."""
    if reset == NONE:
        return h
    return np.where(spikes, v_reset if reset == HARD else h - threshold, h)


def f32(value: Array | float) -> Array:
    """A parameter as a float32 array (of no dimension for a number)."""
    return np.asarray(value, np.float32)


def held(value: Array | float, batch: int, signal: Signal) -> Array:
    """A fresh state array: `value` for each of `batch` samples."""
    return np.broadcast_to(f32(value), (batch, *signal.shape)).astype(np.float32)


def require_choice(kind: str, field: str, value: str, *choices: str) -> None:
    """Raise `UserError` unless `value` is one of `choices`."""
    if value not in choices:
        raise UserError(f"{kind}.{field} is {value!r}; choose one of {', '.join(map(repr, choices))}")


def require_parameters_fit(neuron: Operator, signal: Signal) -> None:
    """Raise `UserError` unless every array parameter of `neuron` broadcasts to the input's shape."""
    for field in fields(neuron):
        value = getattr(neuron, field.name)
        if isinstance(value, np.ndarray):
            require_broadcast(f"{neuron.kind}.{field.name}", value, signal)


@dataclass(frozen=True, eq=False)
class Membrane(Operator):
    """A leaky membrane, driven by `gain · X`; `integration` names its step (see `integrate`).

    `rate` is per time step, `v_leak` is where the membrane rests, `v_start` where it begins. Each broadcasts to the input.
    """

    rate: Array | float = 0.5
    gain: Array | float = 1.0
    v_leak: Array | float = 0.0
    v_start: Array | float = 0.0
    integration: str = RELAX

    def check_membrane(self) -> None:
        """Raise `UserError` for an unknown form, or a rest potential that the form has no place for."""
        require_choice(self.kind, "integration", self.integration, RELAX, RELAX_LEAK_FIRST, DECAY, DECAY_SUM)
        if self.integration in (DECAY, DECAY_SUM) and np.any(f32(self.v_leak)):
            raise UserError(f"{self.kind}.v_leak has no place in {self.integration!r} integration; use 'relax' or 0")

    def charge(self, v: Array, x: Array) -> Array:
        """The membrane after this step's input, before firing."""
        return integrate(self.integration, v, f32(self.gain) * x, f32(self.rate), f32(self.v_leak))


@dataclass(frozen=True, eq=False)
class Firing(Operator):
    """Threshold, spikes and reset of a membrane H that has been charged.

    Fire: S = [H > threshold] (`strict`) or [H ≥ threshold]; with `spikes = "multi"` S = [H > 0] · trunc(H / threshold), at most
    2³¹ − 128.
    Reset: hard V = v_reset where S, soft V = H − S · threshold, none V = H. `reset_at` says when::

        fire           at once
        before_charge  next step, R = [V > threshold]: V is reset, then charged
        after_charge   next step, R = [V > threshold]: V is charged, then reset
        twice          soft: after_charge by R, then at once by S − R (snnTorch's `reset_delay=False`)

    Last, where `v_min` is given: V = max(V − v_min, 0) + v_min.
    """

    threshold: Array | float = 1.0
    v_reset: Array | float = 0.0
    v_min: Array | float | None = None
    strict: bool = True
    reset: str = HARD
    reset_at: str = AT_FIRE
    spikes: str = SINGLE

    def check_firing(self) -> None:
        """Raise `UserError` for unknown or contradicting choices."""
        require_choice(self.kind, "reset", self.reset, HARD, SOFT, NONE)
        require_choice(self.kind, "reset_at", self.reset_at, AT_FIRE, BEFORE_CHARGE, AFTER_CHARGE, TWICE)
        require_choice(self.kind, "spikes", self.spikes, SINGLE, MULTI)
        if self.reset_at == TWICE and self.reset != SOFT:
            raise UserError(f"{self.kind}.reset_at 'twice' goes with reset 'soft' alone; use 'fire'")
        if self.spikes == MULTI and (self.reset_at != AT_FIRE or np.any(f32(self.threshold) <= 0)):
            raise UserError(f"{self.kind} with several spikes a step needs reset_at 'fire' and a threshold above 0")

    @property
    def spike_kind(self) -> Kind:
        """Spikes, or counts where several a step are allowed."""
        return Kind.COUNT if self.spikes == MULTI else Kind.SPIKE

    def before_charge(self, v: Array) -> Array:
        """The membrane as the charge finds it."""
        if self.reset_at != BEFORE_CHARGE:
            return v
        over = fired(v, f32(self.threshold), self.strict)
        return after_spike(self.reset, over, v, f32(self.threshold), f32(self.v_reset))

    def fire(self, v: Array, h: Array) -> tuple[Array, Array]:
        """`(membrane, spikes)` of this step; `v` is the membrane before the charge, `h` after it."""
        threshold = f32(self.threshold)
        if self.spikes == MULTI:
            counts = np.where(h > 0, np.minimum(np.trunc(h / threshold), MOST_SPIKES), np.float32(0))
            left = h - counts * threshold if self.reset == SOFT else self._reset(counts > 0, h)
            return self._floor(left), counts.astype(np.int32)
        over = fired(v, threshold, self.strict)
        if self.reset_at in (AFTER_CHARGE, TWICE):
            h = self._reset(over, h)
        spikes = fired(h, threshold, self.strict)
        if self.reset_at == AT_FIRE:
            h = self._reset(spikes, h)
        elif self.reset_at == TWICE:
            h = h - (spikes.astype(np.float32) - over.astype(np.float32)) * threshold
        return self._floor(h), spikes.astype(np.uint8)

    def _reset(self, spikes: Array, h: Array) -> Array:
        return after_spike(self.reset, spikes, h, f32(self.threshold), f32(self.v_reset))

    def _floor(self, v: Array) -> Array:
        if self.v_min is None:
            return v
        low = f32(self.v_min)
        return np.maximum(v - low, np.float32(0)) + low
