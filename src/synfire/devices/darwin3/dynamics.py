"""Which neurons a core can be programmed to be, and how their membrane moves in the chip's coordinates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from synfire.base.errors import UserError
from synfire.devices.darwin3.ir import HARD, SOFT, Dynamics
from synfire.ops import Array, Operator
from synfire.ops.if_ import IF
from synfire.ops.lif import LIF
from synfire.ops.parametric_lif import ParametricLIF


@dataclass(frozen=True, eq=False)
class Neuron:
    """`U ← keep · U + gain · X`, fires at `threshold`, U = 0 at first and after a hard reset: U is V − v_reset."""

    dynamics: Dynamics
    gain: float
    threshold: Array


def is_neuron(operator: Operator) -> bool:
    """Whether the operator is a neuron that a core may be programmed to be."""
    return type(operator) in _NEURONS


def neuron(operator: Operator) -> Neuron:
    """The operator in the chip's terms. Raises `UserError` where a core has no room for what it needs."""
    return _NEURONS[type(operator)](operator)


def _lif(operator: Any) -> Neuron:
    return _leaky(operator, 1 / _one(operator, "tau"))


def _parametric(operator: Any) -> Neuron:
    return _leaky(operator, _one(operator, "inv_tau"))


def _leaky(operator: Any, leak: float) -> Neuron:
    return _made(operator, 1 - leak, leak if operator.decay_input else 1.0)


def _if(operator: Any) -> Neuron:
    return _made(operator, 1.0, 1.0)


def _made(operator: Any, keep: float, gain: float) -> Neuron:
    rest = np.asarray(operator.v_reset if operator.reset == HARD else 0.0, np.float64)
    threshold = np.asarray(operator.threshold, np.float64) - rest
    if np.any(threshold <= 0):
        raise UserError("its threshold is not above the membrane's resting value, so silence would fire it")
    return Neuron(Dynamics(keep, HARD if operator.reset == HARD else SOFT, operator.strict), gain, threshold)


def _one(operator: Any, field: str) -> float:
    values = np.unique(np.asarray(getattr(operator, field), np.float64))
    if len(values) > 1:
        raise UserError(f"its {field} has {len(values)} values; the neurons of a core share one decay register")
    return float(values[0])


_NEURONS: dict[type[Operator], Callable[[Any], Neuron]] = {IF: _if, LIF: _lif, ParametricLIF: _parametric}
