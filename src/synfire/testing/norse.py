"""Norse's neurons with a graph's parameters, for its counterpart (`synfire.testing.counterpart`).

Needs torch and Norse, so it is imported by those who found them only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from norse.torch.functional.iaf import IAFFeedForwardState, IAFParameters, iaf_feed_forward_step
from norse.torch.functional.lif_box import LIFBoxFeedForwardState, LIFBoxParameters, lif_box_feed_forward_step
from norse.torch.functional.lift import lift
from norse.torch.functional.reset import reset_subtract, reset_value
from torch import Tensor, nn

from synfire.base.errors import UserError
from synfire.ops import Array
from synfire.ops.lif import SOFT

HEAVISIDE = "heaviside"
"""The threshold without a surrogate gradient, which inference has no use for: a third of the time of Norse's default."""


class NorseNeuron(nn.Module):  # type: ignore[misc]
    """A step function of Norse's, lifted over all time steps in one call, or one step at a time."""

    def __init__(self, step: Callable[..., Any], parameters: Any, start: Any, gain: Array | None) -> None:
        super().__init__()
        self._step, self._lifted = step, lift(step, parameters)
        self._values, self._start = parameters, start
        self._gain = None if gain is None else _tensor(gain)
        self.single_step = False
        self.reset()

    def reset(self) -> None:
        self._state = self._start

    def forward(self, x: Tensor) -> Tensor:
        given = x if self._gain is None else x * self._gain
        if not self.single_step:
            spikes: Tensor = self._lifted(given, state=self._start, dt=1.0)[0]
            return spikes
        spikes, self._state = self._step(given, self._state, self._values, 1.0)
        return spikes


def norse_neuron(operator: Any, single_step: bool) -> nn.Module | None:
    """Norse's step of a neuron; None for what is no neuron. Raises `UserError` for one that it cannot express.

    A LIF is its LIFBox, whose input decays; an input that does not is multiplied by τ before. Its IF resets to a value, and its
    adaptive neuron neither subtracts its threshold nor does without a synaptic current.
    """
    if operator.kind == "IF" and operator.reset != SOFT:
        rest = _tensor(operator.v_reset)
        integrates = IAFParameters(v_th=_threshold(operator), v_reset=rest, method=HEAVISIDE)
        return NorseNeuron(iaf_feed_forward_step, integrates, IAFFeedForwardState(v=rest), None)
    if operator.kind in ("LIF", "ParametricLIF"):
        return _leaky(operator)
    if operator.kind in ("IF", "ALIF"):
        raise UserError(f"Norse has no counterpart of this {operator.kind}")
    return None


def _leaky(operator: Any) -> NorseNeuron:
    soft = operator.reset == SOFT
    rate = _float32(operator.inv_tau) if operator.kind == "ParametricLIF" else 1 / _float32(operator.tau)
    rest = _tensor(0.0 if soft else operator.v_reset)
    leaks = LIFBoxParameters(
        tau_mem_inv=_tensor(rate),
        v_leak=rest,
        v_th=_threshold(operator),
        v_reset=rest,
        method=HEAVISIDE,
        reset_method=reset_subtract if soft else reset_value,
    )
    gain = None if operator.decay_input else 1 / rate
    return NorseNeuron(lif_box_feed_forward_step, leaks, LIFBoxFeedForwardState(v=rest), gain)


def _threshold(operator: Any) -> Tensor:
    """Norse fires above its threshold. Neurons that fire at it, too, get the number next below."""
    threshold = _float32(operator.threshold)
    return _tensor(threshold if operator.strict else np.nextafter(threshold, np.float32(-np.inf)))


def _tensor(value: Any) -> Tensor:
    return torch.from_numpy(np.array(value, np.float32))


def _float32(value: Any) -> Array:
    return np.asarray(value, np.float32)
