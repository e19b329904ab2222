"""NIR's neurons to operators, by the rules of a discretisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from synfire.formats.discretisation import Discretisation
from synfire.formats.nir.hdf5 import Node
from synfire.formats.nir.losses import Losses
from synfire.formats.nir.rates import rate
from synfire.ops.cuba_li import CubaLI
from synfire.ops.cuba_lif import CubaLIF
from synfire.ops.discrete_lif import DiscreteLIF
from synfire.ops.if_ import IF
from synfire.ops.leaky_integrator import LeakyIntegrator
from synfire.ops.lif import LIF
from synfire.ops.membrane import DECAY, DECAY_SUM, RELAX, RELAX_LEAK_FIRST, SOFT, f32
from synfire.ops.operator import Operator
from synfire.ops.signal import Array


def neuron(node: Node, choice: Discretisation, losses: Losses) -> Operator:
    """The operator of a NIR neuron. Raises `LossyImport` where the discretisation cannot express the node."""
    return NEURONS[node.type](_Reading(node, choice, losses))


class _Reading:
    """One neuron node under one discretisation: its parameters in the operator's terms."""

    def __init__(self, node: Node, choice: Discretisation, losses: Losses) -> None:
        self.node, self.choice, self.losses = node, choice, losses

    def array(self, name: str, default: float | None = None) -> Array:
        return self.node.array(name, default)

    def refuse(self, loss: str, name: str, wanted: str) -> None:
        """Lose the field `name` if allowed."""
        self.losses.accept(
            loss,
            f"NIR node {self.node.name!r} ({self.node.type}) has {name} {_short(self.array(name))}, but the "
            f"discretisation {self.choice.name!r} takes {wanted}",
        )

    def require(self, loss: str, name: str, wanted: Array | float, words: str) -> None:
        """Lose the field `name` if it is not `wanted`, and that is allowed."""
        if name in self.node.fields and not np.allclose(self.array(name), wanted, rtol=1e-6, atol=1e-12):
            self.refuse(loss, name, words)

    def rate(self, form: str, name: str) -> Array | float:
        tau_s = self.array(name)
        if np.any(tau_s <= 0):
            raise self.node.error(f"{name} must be above 0 seconds, got {_short(tau_s)}")
        if self.choice.integrator == "euler" and np.any(self.choice.step_s > tau_s * (1 + 1e-6)):
            raise self.node.error(
                f"{name} {_short(tau_s)} s is shorter than a time step of {self.choice.step_s} s, so the membrane would "
                "overshoot; pass a smaller dt_s"
            )
        return plain(rate(self.choice, form, tau_s))

    def input_scale(self, name: str, tau: str, form: str, default: float | None = None) -> Array | float:
        """What one unit of input adds to V in a step, for a resistance `name` with NIR's own equations kept."""
        value = self.array(name, default)
        if form in (RELAX, RELAX_LEAK_FIRST):
            return plain(f32(value))
        moved = 1 - np.asarray(rate(self.choice, form, self.array(tau)), np.float64)
        if self.choice.integrator == "euler":
            moved = self.choice.step_s / self.array(tau).astype(np.float64)
        return plain(f32(_snap(value * moved)))

    def leak(self, form: str) -> Array | float:
        if form in (DECAY, DECAY_SUM):
            self.require("v_leak", "v_leak", 0, "no rest potential but 0")
            return 0.0
        return plain(f32(self.array("v_leak", 0.0)))

    def v_reset(self) -> Array | float:
        if self.choice.keeps_v_reset:
            return plain(f32(self.array("v_reset", 0.0)))
        self.require("v_reset", "v_reset", 0, "no reset potential but 0")
        return 0.0

    def start(self, form: str) -> Array | float:
        if self.choice.start == "v_leak":
            return self.leak(form)
        return self.v_reset() if self.choice.start == "v_reset" else 0.0

    def scaled_threshold(self, scale: Array) -> Array:
        """snnTorch: the input is left as it is, and the threshold is divided by what scales it."""
        if np.any(scale <= 0):
            raise self.node.error(f"the input would be scaled by {_short(scale)}; {self.choice.name} needs it above 0")
        threshold = self.array("v_threshold")
        return threshold if np.allclose(scale, 1.0) else threshold / scale

    def firing(self, threshold: Array, reset_at: str) -> dict[str, Any]:
        choice = self.choice
        v_reset = 0.0 if choice.reset == SOFT else self.v_reset()
        if choice.reset == SOFT:
            self.require("v_reset", "v_reset", 0, "a soft reset, which has no reset potential")
        return {
            "threshold": plain(f32(threshold)),
            "v_reset": v_reset,
            "strict": choice.strict,
            "reset": choice.reset,
            "reset_at": reset_at,
            "spikes": choice.spikes,
        }


def plain(value: Array) -> Array | float:
    """An array whose elements agree as one number: less to store, and the same meaning."""
    return float(value.ravel()[0]) if value.size and np.all(value == value.ravel()[0]) else value


def _snap(scale: Array) -> Array:
    """1 where a scale is 1 but for the rounding of its factors."""
    return np.ones_like(scale) if np.allclose(scale, 1.0, rtol=1e-5, atol=0) else scale


def _short(value: Array) -> str:
    return (
        str(value.ravel()[0]) if value.size and np.all(value == value.ravel()[0]) else f"{value.min()} … {value.max()}"
    )


def _if(node: _Reading) -> Operator:
    choice = node.choice
    threshold = node.array("v_threshold")
    gain = _integrator_gain(node)
    if choice.membrane == "spikingjelly":
        return IF(threshold=plain(f32(threshold)), v_reset=node.v_reset(), strict=choice.strict)
    return DiscreteLIF(
        rate=float(f32(choice.if_rate)),
        gain=gain,
        v_start=node.v_reset() if choice.start == "v_reset" else 0.0,
        integration=DECAY,
        v_min=plain(-f32(threshold)) if choice.floors_if else None,
        **node.firing(threshold, choice.reset_at),
    )


def _integrator_gain(node: _Reading) -> Array | float:
    choice = node.choice
    if choice.resistance == "kept" or (choice.resistance == "spikingjelly" and node.node.type == "I"):
        return plain(f32(_snap(choice.step_s * node.array("r"))))
    if choice.resistance == "spikingjelly":
        node.require("r", "r", 1 / choice.step_s, f"an r of 1/dt = {1 / choice.step_s:g}: the input is added as it is")
    else:
        node.require("r", "r", 1, "an r of 1: the input is added as it is, once per step")
    return 1.0


def _i(node: _Reading) -> Operator:
    return LeakyIntegrator(rate=1.0, gain=_integrator_gain(node), integration=DECAY)


def _lif(node: _Reading) -> Operator:
    choice = node.choice
    if choice.membrane == "spikingjelly":
        return _spikingjelly_lif(node)
    threshold = node.array("v_threshold")
    gain: Array | float = 1.0
    if choice.resistance == "kept":
        gain = node.input_scale("r", "tau", choice.membrane)
    elif choice.resistance == "threshold":
        threshold = node.scaled_threshold(node.array("r") * choice.step_s / node.array("tau"))
    else:
        node.require("r", "r", 1, "an r of 1")
    return DiscreteLIF(
        rate=node.rate(choice.membrane, "tau"),
        gain=gain,
        v_leak=node.leak(choice.membrane),
        v_start=node.start(choice.membrane),
        integration=choice.membrane,
        **node.firing(threshold, choice.reset_at),
    )


def _spikingjelly_lif(node: _Reading) -> Operator:
    steps = node.array("tau").astype(np.float64) / node.choice.step_s
    decays = bool(np.allclose(node.array("r"), 1, rtol=1e-6))
    if not decays and not np.allclose(node.array("r"), steps, rtol=1e-6):
        node.refuse("r", "r", "an r of 1 (decay_input) or of tau/dt")
        decays = True
    node.require("v_leak", "v_leak", node.array("v_reset", 0.0), "a v_leak equal to v_reset")
    return LIF(
        tau=plain(f32(steps)),
        threshold=plain(f32(node.array("v_threshold"))),
        v_reset=node.v_reset(),
        decay_input=decays,
        strict=node.choice.strict,
    )


def _li(node: _Reading) -> Operator:
    form = node.choice.readout
    if node.choice.resistance == "dropped":
        node.require("r", "r", 1, "an r of 1")
    return LeakyIntegrator(
        rate=node.rate(form, "tau"),
        gain=1.0 if node.choice.resistance == "dropped" else node.input_scale("r", "tau", form),
        v_leak=node.leak(form),
        v_start=node.start(form) if node.choice.start == "v_leak" else 0.0,
        integration=form,
    )


def _cuba_form(choice: Discretisation) -> str:
    return DECAY if choice.membrane == "spikingjelly" else choice.membrane


def _current(node: _Reading, form: str) -> dict[str, Any]:
    """The fields that CubaLIF and CubaLI share."""
    choice = node.choice
    return {
        "rate": node.rate(form, "tau_mem"),
        "v_leak": node.leak(form),
        "v_start": node.start(form) if choice.start != "v_reset" or "v_threshold" in node.node.fields else 0.0,
        "integration": form,
        "current_rate": node.rate(choice.current, "tau_syn"),
        "current_leak": node.leak(form) if choice.current_rests_at_v_leak else 0.0,
        "current_integration": choice.current,
        "order": choice.order,
    }


def _drive(node: _Reading, form: str) -> dict[str, Any]:
    """w_in and gain where no threshold takes them up."""
    if node.choice.resistance == "dropped" and form in (DECAY, DECAY_SUM):
        node.require("r", "r", 1, "an r of 1")
        node.require("r", "w_in", 1, "a w_in of 1")
        return {"w_in": 1.0, "gain": 1.0}
    return {
        "w_in": node.input_scale("w_in", "tau_syn", node.choice.current, 1.0),
        "gain": node.input_scale("r", "tau_mem", form),
    }


def _cuba_lif(node: _Reading) -> Operator:
    choice, form = node.choice, _cuba_form(node.choice)
    threshold = node.array("v_threshold")
    drive: dict[str, Any] = {"w_in": 1.0, "gain": 1.0}
    if choice.resistance in ("threshold", "spikingjelly"):
        node.require(
            "r", "r", node.array("tau_mem") / choice.step_s, "an r of tau_mem/dt: the current is added as it is"
        )
    else:
        drive = _drive(node, form)
    if choice.resistance == "threshold":
        threshold = node.scaled_threshold(node.array("w_in", 1.0) * (choice.step_s / node.array("tau_syn")))
    elif choice.resistance == "spikingjelly":
        node.require("r", "w_in", node.array("tau_syn") / choice.step_s, "a w_in of tau_syn/dt")
    return CubaLIF(**_current(node, form), **drive, **node.firing(threshold, choice.cuba_reset_at))


def _cuba_li(node: _Reading) -> Operator:
    form = node.choice.readout
    return CubaLI(**_current(node, form), **_drive(node, form))


NEURONS: dict[str, Callable[[_Reading], Operator]] = {
    "IF": _if,
    "I": _i,
    "LIF": _lif,
    "LI": _li,
    "CubaLIF": _cuba_lif,
    "CubaLI": _cuba_li,
}
"""How each NIR neuron type is read."""
