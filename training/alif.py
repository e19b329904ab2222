"""A layer of recurrent adaptive leaky integrate-and-fire neurons.

    I_t = X_t + W_r s_{t-1}
    b_t = ρ b_{t-1} + (1 − ρ) s_{t-1}
    B_t = b₀ + β b_t
    u_t = α u_{t-1} + (1 − α) I_t − B_t s_{t-1}
    s_t = 1 if u_t ≥ B_t else 0

with u, b, s = 0 before the first step, R = 1 and dt = 1 step. Yin et al. fire at u > B; SpikingJelly's surrogates fire at
≥, and the two part only where u equals B exactly. α and ρ, one of each per neuron, are parameters and
trained as such (not as time constants), so that whoever loads them computes with the very numbers that were trained.

Source: Yin, Corradi, Bohté, "Accurate and efficient time-domain classification with adaptive spiking recurrent neural
networks", 2021, doi:10.1038/s42256-021-00397-w.
"""

import torch
from spikingjelly.activation_based import base, surrogate
from torch import Tensor, nn

ALPHA_RANGE = (0.3, 0.99)
RHO_RANGE = (0.5, 0.998)


class RecurrentALIF(base.MemoryModule):
    """`(time, batch, neuron)` input current X → `(time, batch, neuron)` spikes."""

    def __init__(self, neurons: int, b0: float = 0.3, beta: float = 1.8, step_mode: str = "m") -> None:
        super().__init__()
        self.step_mode = step_mode
        self.b0 = b0
        self.beta = beta
        self.recurrent = nn.Linear(neurons, neurons, bias=False)
        nn.init.orthogonal_(self.recurrent.weight, gain=0.5)
        self.alpha = nn.Parameter(torch.empty(neurons).uniform_(0.6, 0.95))
        self.rho = nn.Parameter(torch.empty(neurons).uniform_(0.8, 0.98))
        self.surrogate_function = surrogate.ATan(alpha=2.0)
        self.register_memory("u", None)
        self.register_memory("b", None)
        self.register_memory("s", None)

    def materialize_states(
        self, inputs: tuple[Tensor, ...], states: tuple[Tensor | None, ...], step_mode: str
    ) -> tuple[Tensor, ...]:
        x = inputs[0] if step_mode == "s" else inputs[0][0]
        return tuple(torch.zeros_like(x) if state is None else state for state in states)

    def single_step_functional_forward(
        self, inputs: tuple[Tensor, ...], states: tuple[Tensor, ...], **_: object
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        (x,) = inputs
        u, b, s = states
        current = x + self.recurrent(s)
        b = self.rho * b + (1.0 - self.rho) * s
        threshold = self.b0 + self.beta * b
        u = self.alpha * u + (1.0 - self.alpha) * current - threshold * s
        s = self.surrogate_function(u - threshold)
        return (s,), (u, b, s)

    @torch.no_grad()
    def project(self) -> None:
        """Return α and ρ to where the neuron is stable; called after each step of the optimiser."""
        self.alpha.clamp_(*ALPHA_RANGE)
        self.rho.clamp_(*RHO_RANGE)

    def extra_repr(self) -> str:
        return f"b0={self.b0}, beta={self.beta}, step_mode={self.step_mode}"
