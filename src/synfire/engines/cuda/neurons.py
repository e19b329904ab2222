"""Layers of neurons: all steps of a block in one launch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch

from synfire.engines.cuda.hardware import Tensors
from synfire.engines.cuda.kernels.launching import block, blocks, launch
from synfire.engines.cuda.kernels.membranes import fire, fire_adaptive, integrate
from synfire.engines.cuda.step import Step, step_for
from synfire.ops import Array
from synfire.ops.alif import ALIF
from synfire.ops.cuba_li import CubaLI
from synfire.ops.cuba_lif import CubaLIF
from synfire.ops.current_based import CurrentBased
from synfire.ops.discrete_lif import DiscreteLIF
from synfire.ops.if_ import IF
from synfire.ops.leaky_integrator import LeakyIntegrator
from synfire.ops.lif import LIF
from synfire.ops.membrane import HARD, MOST_SPIKES, MULTI, Firing, Membrane
from synfire.ops.parametric_lif import ParametricLIF

Constants = dict[str, str | bool | int | float]


class NeuronStep(Step):
    """What layers of neurons share: rows of parameters, and how many lanes there are."""

    def prepare(self) -> None:
        rows, self.constants = self.described()
        each, shape = any(np.size(row) > 1 for row in rows), self.inputs[0].shape
        values = [np.asarray(row, np.float32) for row in rows]
        self.parameters = self.here.hold(
            np.stack([np.broadcast_to(value, shape).reshape(-1) if each else value.reshape(1) for value in values])
        )
        self.constants |= {"EACH": each, "BLOCK": block(self.inputs[0].size, 256)}

    @abstractmethod
    def described(self) -> tuple[Sequence[Array | float], Constants]:
        """The operator's parameters in the kernel's order, and its attributes by the kernel's names."""

    def run(self, state: Tensors, inputs: Sequence[torch.Tensor], steps: int) -> tuple[Tensors, torch.Tensor]:
        x, pace = paced(inputs[0])
        after = {name: torch.empty_like(each) for name, each in state.items()}
        dtype = torch.from_numpy(np.empty(0, self.output.kind.dtype)).dtype
        out = torch.empty((steps, *x.shape[1:]), dtype=dtype, device=x.device)
        total = x.shape[1:].numel()
        if out.numel():
            grid = (blocks(total, int(self.constants["BLOCK"])),)
            self.launch(grid, x, state, out, after, (total, steps, pace, self.inputs[0].size))
        return after, out

    @abstractmethod
    def launch(
        self,
        grid: tuple[int],
        x: torch.Tensor,
        state: Tensors,
        out: torch.Tensor,
        after: Tensors,
        sizes: tuple[int, ...],
    ) -> None:
        """One pass over the block."""


def paced(x: torch.Tensor) -> tuple[torch.Tensor, int]:
    """A block as kernels read it, and the numbers from one step to the next: 0 for a value that stays the same."""
    if x.shape[0] > 1 and x.stride(0) == 0 and x[0].is_contiguous():
        return x, 0
    return x.contiguous(), x.shape[1:].numel()


@step_for(IF, LIF, ParametricLIF)
class FiringStep(NeuronStep):
    """Membranes that share the kernel `fire`."""

    def described(self) -> tuple[Sequence[Array | float], Constants]:
        assert isinstance(self.operator, (IF, LIF, ParametricLIF))
        charge, rate, divide = _charging(self.operator)
        constants: Constants = {
            "CHARGE": charge,
            "DIVIDE": divide,
            "RESET": self.operator.reset,
            "STRICT": self.operator.strict,
        }
        return (self.operator.threshold, self.operator.v_reset, rate), constants

    def launch(
        self,
        grid: tuple[int],
        x: torch.Tensor,
        state: Tensors,
        out: torch.Tensor,
        after: Tensors,
        sizes: tuple[int, ...],
    ) -> None:
        launch(fire, grid, x, state["v"], self.parameters, out, after["v"], *sizes, **self.constants)


def _charging(operator: IF | LIF | ParametricLIF) -> tuple[str, Array | float, bool]:
    """The form of the charge, its rate, and whether that divides."""
    if isinstance(operator, IF):
        return "add", 1.0, False
    form = "relax" if operator.decay_input else "leak"
    if isinstance(operator, ParametricLIF):
        return form, operator.inv_tau, False
    tau = np.asarray(operator.tau, np.float32)
    if not operator.decay_input and operator.reset != HARD:
        return "keep", np.float32(1) - np.float32(1) / tau, False
    return form, tau, True


@step_for(ALIF)
class AdaptiveStep(NeuronStep):
    """Neurons whose threshold rises with their own spikes."""

    def described(self) -> tuple[Sequence[Array | float], Constants]:
        assert isinstance(self.operator, ALIF)
        operator = self.operator
        return (operator.alpha, operator.rho, operator.b0, operator.beta), {"STRICT": operator.strict}

    def launch(
        self,
        grid: tuple[int],
        x: torch.Tensor,
        state: Tensors,
        out: torch.Tensor,
        after: Tensors,
        sizes: tuple[int, ...],
    ) -> None:
        names = ("u", "b", "s")
        launch(
            fire_adaptive, grid, x, *(state[name] for name in names), self.parameters, out,
            *(after[name] for name in names), *sizes, **self.constants,
        )  # fmt: skip


@step_for(DiscreteLIF, CubaLIF, CubaLI, LeakyIntegrator)
class IntegratingStep(NeuronStep):
    """Membranes every discrete choice of which is an attribute."""

    def described(self) -> tuple[Sequence[Array | float], Constants]:
        operator = self.operator
        assert isinstance(operator, Membrane)
        firing = isinstance(operator, Firing)
        floor = operator.v_min if isinstance(operator, Firing) else None
        rows: list[Array | float] = [operator.rate, operator.gain, operator.v_leak]
        rows += (
            [operator.w_in, operator.current_rate, operator.current_leak]
            if isinstance(operator, CurrentBased)
            else [0.0] * 3
        )
        rows += [operator.threshold, operator.v_reset] if isinstance(operator, Firing) else [1.0, 0.0]
        constants: Constants = {
            "FORM": operator.integration,
            "CURRENT": operator.current_integration if isinstance(operator, CurrentBased) else "none",
            "ORDER": operator.order if isinstance(operator, CurrentBased) else "none",
            "FIRES": firing,
            "RESET": operator.reset if isinstance(operator, Firing) else "none",
            "RESET_AT": operator.reset_at if isinstance(operator, Firing) else "none",
            "STRICT": isinstance(operator, Firing) and operator.strict,
            "MULTI": isinstance(operator, Firing) and operator.spikes == MULTI,
            "FLOOR": floor is not None,
            "MOST": float(MOST_SPIKES),
        }
        return (*rows, 0.0 if floor is None else floor), constants

    def launch(
        self,
        grid: tuple[int],
        x: torch.Tensor,
        state: Tensors,
        out: torch.Tensor,
        after: Tensors,
        sizes: tuple[int, ...],
    ) -> None:
        current, moved = state.get("i", state["v"]), after.get("i", after["v"])
        launch(
            integrate, grid, x, state["v"], current, self.parameters, out, after["v"], moved, *sizes, **self.constants
        )
