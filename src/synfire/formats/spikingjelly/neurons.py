"""Neuron layers: IF, LIF and parametric LIF nodes, and Delay."""

from __future__ import annotations

from typing import Any

import numpy as np
from spikingjelly.activation_based import layer, neuron

from synfire.base.errors import UserError
from synfire.formats.spikingjelly.convert import (
    Context,
    Converter,
    described,
    numbers,
    require_memory,
    require_once,
)
from synfire.formats.spikingjelly.sketch import Held, under
from synfire.ops.delay import Delay
from synfire.ops.if_ import IF
from synfire.ops.lif import HARD, LIF, SOFT
from synfire.ops.parametric_lif import ParametricLIF


def if_node(context: Context, module: Any, name: str, x: Held) -> Held:
    """IFNode."""
    _check(context, module, name, x)
    return context.sketch.add(name, IF(*_thresholds(module)), x)


def lif_node(context: Context, module: Any, name: str, x: Held) -> Held:
    """LIFNode."""
    _check(context, module, name, x)
    threshold, v_reset, reset = _thresholds(module)
    operator = LIF(float(module.tau), threshold, v_reset, bool(module.decay_input), reset)
    return context.sketch.add(name, operator, x)


def parametric_lif_node(context: Context, module: Any, name: str, x: Held) -> Held:
    """1/τ is taken as torch's sigmoid rounds it, w itself is kept in the metadata."""
    _check(context, module, name, x)
    numbers(context, under(name, "w"), module.w)
    threshold, v_reset, reset = _thresholds(module)
    inverse = float(module.w.detach().float().sigmoid())
    operator = ParametricLIF(inverse, threshold, v_reset, bool(module.decay_input), reset)
    context.sketch.scalars[under(name, "w")] = float(module.w)
    return context.sketch.add(name, operator, x)


def delay(context: Context, module: Any, name: str, x: Held) -> Held:
    """Delay."""
    require_memory(module, name, x)
    require_once(context, module, name)
    return context.sketch.add(name, Delay(int(module.delay_steps)), x)


def converters() -> dict[type, Converter]:
    """The exact class of each neuron and how it is converted; every other class of neuron is refused."""
    return {
        neuron.IFNode: if_node,
        neuron.LIFNode: lif_node,
        neuron.ParametricLIFNode: parametric_lif_node,
        layer.Delay: delay,
    }


def refuse(module: Any, name: str) -> None:
    """Raise `UserError` for a module with a memory that no converter knows."""
    raise UserError(
        f"{described(module, name)} is a neuron or memory that synfire has no operator for; use IFNode, LIFNode or "
        "ParametricLIFNode, or pass converters={type: function} to from_module (docs/formats-spikingjelly.md shows one)"
    )


def _check(context: Context, module: Any, name: str, x: Held) -> None:
    require_memory(module, name, x)
    require_once(context, module, name)
    if x.signal.clock != "step":
        raise UserError(
            f"{described(module, name)} gets {x.signal}, which has no time steps left; take the mean over time after the last neuron"
        )
    start = 0.0 if module.v_reset is None else module.v_reset
    reset_value = module._memories_rv.get("v")
    if not isinstance(reset_value, float) or reset_value != start:
        raise UserError(
            f"{described(module, name)} starts from a membrane set by set_reset_value; synfire starts from v_reset: remove it"
        )
    if getattr(module, "_neuron_precision", None) is not None:
        context.lossy(
            "precision", f"{described(module, name)} computes in {module._neuron_precision}, synfire in float32"
        )


def _thresholds(module: Any) -> tuple[float, float, str]:
    if module.v_reset is None:
        return float(np.float32(module.v_threshold)), 0.0, SOFT
    return float(np.float32(module.v_threshold)), float(np.float32(module.v_reset)), HARD
