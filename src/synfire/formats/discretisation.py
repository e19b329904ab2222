"""How equations in continuous time become steps: the choices in which the field's frameworks differ, each by name.

NIR says `τ·V̇ = (v_leak − V) + R·I` and no more. Every framework picks a time step, an integrator, an update order and a
reset of its own, and some leave a parameter out. A `Discretisation` spells these choices out; a preset is the set of
choices of one framework. An import names one, and the graph keeps it in `metadata["discretisation"]`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from types import MappingProxyType
from typing import Any

from synfire.base.errors import UnknownName, UserError
from synfire.ops.current_based import CURRENT_FIRST, JUMP, MEMBRANE_FIRST
from synfire.ops.membrane import (
    AFTER_CHARGE,
    AT_FIRE,
    BEFORE_CHARGE,
    DECAY,
    DECAY_SUM,
    HARD,
    MULTI,
    NONE,
    RELAX,
    RELAX_LEAK_FIRST,
    SINGLE,
    SOFT,
    TWICE,
)

CHOICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "integrator": ("euler", "exponential"),
        "membrane": (RELAX, RELAX_LEAK_FIRST, DECAY, DECAY_SUM, "spikingjelly"),
        "readout": (RELAX, RELAX_LEAK_FIRST, DECAY, DECAY_SUM),
        "current": (RELAX, RELAX_LEAK_FIRST, DECAY, DECAY_SUM),
        "order": (CURRENT_FIRST, MEMBRANE_FIRST, JUMP),
        "resistance": ("kept", "dropped", "threshold", "spikingjelly"),
        "reset": (HARD, SOFT, NONE),
        "reset_at": (AT_FIRE, BEFORE_CHARGE, AFTER_CHARGE, TWICE),
        "spikes": (SINGLE, MULTI),
        "start": ("zero", "v_leak", "v_reset"),
        "recurrence": ("neuron", "closing"),
        "rates_in": ("float64", "file"),
    }
)


@dataclass(frozen=True)
class Discretisation:
    """One way to turn NIR's equations into time steps. Forms and resets are those of `synfire.ops.membrane`.

    - `dt_s`: seconds per step. It has no default: a preset leaves it open (None), an import must say it.
    - `integrator`: "euler" (rate dt/τ) or "exponential" (rate 1 − exp(−dt/τ): exact for a constant input).
    - `membrane`, `readout`, `current`: the form of LIF and IF, of LI, and of a synaptic current; the membrane form
      "spikingjelly" is the operator `LIF`.
    - `order`: which of current and membrane moves first in CubaLIF and CubaLI.
    - `resistance`: what becomes of R: "kept"; "dropped" (LIF, IF, LI and I must have r = 1; CubaLIF keeps it);
      "threshold" (the input stays, θ is divided by dt·R/τ); "spikingjelly" (1 or τ/dt; IF 1/dt).
    - `strict`, `reset`, `reset_at`, `spikes`: as in `Firing`; `cuba_reset_at` is for CubaLIF.
    - `floors_if`: IF membranes are clamped at −θ.
    - `start`: the membrane before the first step. `current_rests_at_v_leak`: Norse's import pulls the current there.
    - `keeps_v_reset`: whether v_reset is honoured; where it is not it must be 0.
    - `if_rate`: the decay of an IF membrane per step: 1, unless a framework leaks.
    - `recurrence`: a cycle's one-step delay sits on the neuron's output ("neuron": recurrent biases act from the first
      step) or on the edge that closes the cycle ("closing": they act from the second).
    - `rates_in`: rates are computed in float64, or in the number format of the file.
    """

    name: str
    dt_s: float | None = None
    integrator: str = "euler"
    membrane: str = RELAX
    readout: str = RELAX
    current: str = RELAX
    order: str = CURRENT_FIRST
    resistance: str = "kept"
    strict: bool = True
    reset: str = HARD
    reset_at: str = AT_FIRE
    cuba_reset_at: str = AT_FIRE
    spikes: str = SINGLE
    floors_if: bool = False
    start: str = "v_leak"
    current_rests_at_v_leak: bool = False
    keeps_v_reset: bool = True
    if_rate: float = 1.0
    recurrence: str = "neuron"
    rates_in: str = "float64"

    def __post_init__(self) -> None:
        for field, choices in CHOICES.items():
            if getattr(self, field) not in choices:
                raise UserError(
                    f"Discretisation.{field} is {getattr(self, field)!r}; choose one of {', '.join(map(repr, choices))}"
                )
        if self.dt_s is not None and not (math.isfinite(self.dt_s) and self.dt_s > 0):
            raise UserError(f"Discretisation.dt_s is {self.dt_s}; give the seconds per time step, above 0")

    @property
    def step_s(self) -> float:
        """`dt_s`; raises `UserError` while it is open."""
        if self.dt_s is None:
            raise UserError(
                f"the discretisation {self.name!r} needs the length of a time step, and NIR files do not hold it: "
                "pass dt_s=… in seconds (CLI: --dt-s), the value the model was trained with (1e-4 for snnTorch exports)"
            )
        return self.dt_s

    def with_(self, **changes: Any) -> Discretisation:
        """A copy with some choices changed."""
        return replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        """Every choice, ready for JSON: what an import leaves in `graph.metadata["discretisation"]`."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Discretisation:
        """The inverse of `to_json`. Raises `UserError` for unknown choices."""
        unknown = set(value) - {field.name for field in fields(cls)}
        if unknown:
            raise UserError(f"a discretisation has no choice {sorted(unknown)}; see synfire.formats.discretisation")
        return cls(**value)

    def __str__(self) -> str:
        reset = self.reset if self.reset == NONE else f"{self.reset} reset at {self.reset_at}"
        sign = ">" if self.strict else "≥"
        return f"{self.name}: dt {self.dt_s} s, {self.integrator} {self.membrane}, H {sign} θ, {reset}, {self.spikes}"


_SNNTORCH = Discretisation(
    name="snntorch",
    membrane=DECAY,
    readout=DECAY,
    current=DECAY,
    resistance="threshold",
    start="zero",
    keeps_v_reset=False,
    rates_in="file",
)

_NORSE = Discretisation(
    name="norse",
    readout=RELAX_LEAK_FIRST,
    current=RELAX_LEAK_FIRST,
    resistance="dropped",
    current_rests_at_v_leak=True,
    keeps_v_reset=False,
    recurrence="closing",
)

PRESETS: Mapping[str, Discretisation] = MappingProxyType(
    {
        each.name: each
        for each in (
            Discretisation(name="euler"),
            Discretisation(name="exponential", integrator="exponential"),
            _NORSE,
            _NORSE.with_(name="norse-lifcell", order=JUMP, membrane=RELAX_LEAK_FIRST, current_rests_at_v_leak=False),
            _SNNTORCH,
            _SNNTORCH.with_(name="snntorch-delayed", reset_at=BEFORE_CHARGE, cuba_reset_at=AFTER_CHARGE),
            Discretisation(
                name="spikingjelly",
                membrane="spikingjelly",
                readout=RELAX,
                current=DECAY,
                resistance="spikingjelly",
                strict=False,
                start="v_reset",
                recurrence="closing",
            ),
            Discretisation(
                name="sinabs",
                integrator="exponential",
                membrane=DECAY,
                readout=DECAY,
                current=DECAY_SUM,
                resistance="dropped",
                strict=False,
                reset=SOFT,
                spikes=MULTI,
                floors_if=True,
                start="zero",
                keeps_v_reset=False,
                recurrence="closing",
            ),
        )
    }
)
"""Each framework's choices by name; docs/formats-nir.md has the table and the versions they were checked against."""


def discretisation(choice: Discretisation | str, dt_s: float | None = None) -> Discretisation:
    """The preset of that name, or the choice itself, with `dt_s` filled in. Raises `UserError` while dt_s is unknown."""
    if isinstance(choice, str):
        if choice not in PRESETS:
            raise UnknownName.among("discretisation preset", choice, PRESETS)
        choice = PRESETS[choice]
    chosen = choice if dt_s is None else choice.with_(dt_s=float(dt_s))
    chosen.step_s  # noqa: B018  (raises while dt_s is open)
    return chosen
