"""What current-based neurons share: a synaptic current that drives the membrane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.membrane import DECAY, DECAY_SUM, RELAX, RELAX_LEAK_FIRST, Membrane, f32, integrate, require_choice
from synfire.ops.signal import Array

CURRENT_FIRST, MEMBRANE_FIRST, JUMP = "current_first", "membrane_first", "jump"


@dataclass(frozen=True, eq=False)
class CurrentBased(Membrane):
    """A membrane driven by a synaptic current I, which `w_in · X` feeds; `order` says which moves first::

        current_first    I ← current_integration(I, w_in·X);  H ← integration(V, gain·I)
        membrane_first   H ← integration(V, gain·I);  I ← current_integration(I, w_in·X)
        jump             J = I + w_in·X;  H ← integration(V, gain·J);  I ← J + (−current_rate)·J

    `current_integration`, `current_rate` and `current_leak` are to the current what `integration`, `rate` and `v_leak` are
    to the membrane; the current starts at `current_leak`.
    """

    w_in: Array | float = 1.0
    current_rate: Array | float = 0.5
    current_leak: Array | float = 0.0
    current_integration: str = RELAX
    order: str = CURRENT_FIRST

    def check_current(self) -> None:
        """Raise `UserError` for unknown or contradicting choices."""
        forms = (RELAX, RELAX_LEAK_FIRST, DECAY, DECAY_SUM)
        require_choice(self.kind, "current_integration", self.current_integration, *forms)
        require_choice(self.kind, "order", self.order, CURRENT_FIRST, MEMBRANE_FIRST, JUMP)
        placed = self.order != JUMP and self.current_integration in (RELAX, RELAX_LEAK_FIRST)
        if not placed and np.any(f32(self.current_leak)):
            raise UserError(f"{self.kind}.current_leak has a place only in 'relax' forms without a jump; set it to 0")

    def advance(self, current: Array, v: Array, x: Array) -> tuple[Array, Array]:
        """`(current, charged membrane)` after this step's input."""
        drive, rate = f32(self.w_in) * x, f32(self.current_rate)
        if self.order == JUMP:
            jumped = current + drive
            return jumped + -rate * jumped, self.charge(v, jumped)
        moved = integrate(self.current_integration, current, drive, rate, f32(self.current_leak))
        return moved, self.charge(v, moved if self.order == CURRENT_FIRST else current)
