"""Neurons as an expert writes them in torch: all time steps in one piece of code, which a compiler fuses into one loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from synfire.ops import Array, Operator

Number: TypeAlias = Tensor | float


class Neuron(ABC):
    """One layer of neurons. A state is a tuple of tensors, or of numbers while nothing has arrived."""

    @abstractmethod
    def start(self) -> tuple[Number, ...]:
        """The state before the first step."""

    @abstractmethod
    def step(self, state: tuple[Number, ...], x: Tensor) -> tuple[tuple[Number, ...], Tensor]:
        """One time step: `(state, current) → (state, spikes)`, the spikes as float32."""

    def all_steps(self, current: Tensor, steps: int) -> Tensor:
        """`(time, batch, …)`: all spikes; a current of one step stays the same."""
        state, spikes = self.start(), []
        for t in range(steps):
            state, fired = self.step(state, current[t if len(current) > 1 else 0])
            spikes.append(fired)
        return torch.stack(spikes)


class Integrating(Neuron):
    """IF, LIF and ParametricLIF: h = leak·(v − rest) + rest + gain·x, with 1/τ multiplied in where it saves a division."""

    def __init__(self, operator: Any) -> None:
        self._soft = operator.reset == "soft"
        self._threshold, self._strict = _number(operator.threshold), operator.strict
        self._v_reset = _number(operator.v_reset)
        self._rate = _rate(operator)
        self._decays_input = self._rate is not None and operator.decay_input

    def start(self) -> tuple[Number, ...]:
        return (0.0 if self._soft else self._v_reset,)

    def step(self, state: tuple[Number, ...], x: Tensor) -> tuple[tuple[Number, ...], Tensor]:
        h = self._charged(state[0], x)
        fired = h > self._threshold if self._strict else h >= self._threshold
        spikes = fired.to(torch.float32)
        after = h - self._threshold * spikes if self._soft else torch.where(fired, self._v_reset, h)
        return (after,), spikes

    def _charged(self, v: Number, x: Tensor) -> Tensor:
        if self._rate is None:
            return x + v
        rest = 0.0 if self._soft else self._v_reset
        above = v if isinstance(rest, float) and rest == 0 else v - rest
        if self._decays_input:
            return v + (x - above) * self._rate
        return v - above * self._rate + x


class Adaptive(Neuron):
    """ALIF; see `synfire.ops.alif`."""

    def __init__(self, operator: Any) -> None:
        self._alpha, self._rho = _number(operator.alpha), _number(operator.rho)
        self._base, self._slope, self._strict = _number(operator.b0), _number(operator.beta), operator.strict

    def start(self) -> tuple[Number, ...]:
        return 0.0, 0.0, 0.0

    def step(self, state: tuple[Number, ...], x: Tensor) -> tuple[tuple[Number, ...], Tensor]:
        u, b, s = state
        b = self._rho * b + (1 - self._rho) * s
        threshold = self._base + self._slope * b
        u = self._alpha * u + (1 - self._alpha) * x - threshold * s
        spikes = (u > threshold if self._strict else u >= threshold).to(torch.float32)
        return (u, b, spikes), spikes


def neuron(operator: Operator) -> Neuron | None:
    """The torch code of a neuron; None for what is none of these."""
    if operator.kind in ("IF", "LIF", "ParametricLIF"):
        return Integrating(operator)
    return Adaptive(operator) if operator.kind == "ALIF" else None


def _rate(operator: Any) -> Number | None:
    """1/τ; None for neurons that do not leak."""
    if operator.kind == "IF":
        return None
    if operator.kind == "ParametricLIF":
        return _number(operator.inv_tau)
    return _number(np.float32(1) / np.asarray(operator.tau, np.float32))


def _number(value: Array | float) -> Number:
    """A parameter that all neurons share as a number, else as a tensor."""
    array = np.asarray(value, np.float32)
    return float(array) if array.ndim == 0 or array.size == 1 else torch.from_numpy(array.copy())
