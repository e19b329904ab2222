"""Encoders, readouts and delays: where time itself matters."""

from __future__ import annotations

from collections.abc import Sequence as Ports

import numpy as np
import torch

from synfire.engines.cuda.hardware import Tensors
from synfire.engines.cuda.kernels.launching import block, blocks, launch
from synfire.engines.cuda.kernels.membranes import read_out
from synfire.engines.cuda.neurons import paced
from synfire.engines.cuda.step import Step, as_value, step_for
from synfire.ops.bernoulli import Bernoulli
from synfire.ops.constant_current import ConstantCurrent
from synfire.ops.delay import Delay
from synfire.ops.delta import Delta
from synfire.ops.max_over_time import MaxOverTime
from synfire.ops.mean_rate import MeanRate
from synfire.ops.sequence import Sequence
from synfire.ops.spike_count import SpikeCount


@step_for(ConstantCurrent)
class ConstantCurrentStep(Step):
    """The value itself, which stays the same."""

    def run(self, state: Tensors, inputs: Ports[torch.Tensor], steps: int) -> tuple[Tensors, torch.Tensor]:
        return {}, inputs[0]


@step_for(Sequence)
class SequenceStep(Step):
    """A sample's own rows, from where it stands."""

    def run(self, state: Tensors, inputs: Ports[torch.Tensor], steps: int) -> tuple[Tensors, torch.Tensor]:
        assert isinstance(self.operator, Sequence)
        at, rows = state["step"], inputs[0][0]
        now = (at + torch.arange(steps, device=at.device)[:, None]) % self.operator.steps
        samples = torch.arange(len(rows), device=at.device).expand(steps, -1)
        return {"step": (at + steps) % self.operator.steps}, rows[samples, now]


@step_for(Bernoulli)
class BernoulliStep(Step):
    """SplitMix64 in signed numbers, which wrap in the same way."""

    def prepare(self) -> None:
        assert isinstance(self.operator, Bernoulli)
        elements = np.arange(1, self.inputs[0].size + 1, dtype=np.uint64)
        self._counter = self.here.hold((_GOLDEN * elements).view(np.int64))

    def run(self, state: Tensors, inputs: Ports[torch.Tensor], steps: int) -> tuple[Tensors, torch.Tensor]:
        assert isinstance(self.operator, Bernoulli)
        x = inputs[0]
        now = state["step"] + torch.arange(1, steps + 1, device=x.device)[:, None]
        key = _mixed(now * _signed(_GOLDEN) + self.operator.seed)
        bits = _shifted(_mixed(key[..., None] + self._counter), 40)
        chance = bits.to(torch.float32) * 2.0**-24
        return {"step": state["step"] + steps}, (chance.reshape(x.shape) < as_value(x)).to(torch.uint8)


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _signed(number: int | np.uint64) -> int:
    """The signed number of the same 64 bits."""
    return int(number) - 2**64 if int(number) >= 2**63 else int(number)


def _shifted(z: torch.Tensor, bits: int) -> torch.Tensor:
    """z ≫ bits, with zeros coming in."""
    return (z >> bits) & (2 ** (64 - bits) - 1)


def _mixed(z: torch.Tensor) -> torch.Tensor:
    z = (z ^ _shifted(z, 30)) * _signed(0xBF58476D1CE4E5B9)
    z = (z ^ _shifted(z, 27)) * _signed(0x94D049BB133111EB)
    return z ^ _shifted(z, 31)


@step_for(Delay)
class DelayStep(Step):
    """What came so many steps before."""

    def prepare(self) -> None:
        assert isinstance(self.operator, Delay)
        age = np.broadcast_to(self.operator.longest - np.asarray(self.operator.steps), self.inputs[0].shape)
        self._age = self.here.hold(np.ascontiguousarray(age, np.int64))

    def run(self, state: Tensors, inputs: Ports[torch.Tensor], steps: int) -> tuple[Tensors, torch.Tensor]:
        x = inputs[0].transpose(0, 1)
        line = torch.cat([state["line"], x], dim=1)
        ages = self._age + torch.arange(steps, device=x.device).reshape(-1, *(1,) * self._age.ndim)
        delayed = line.gather(1, ages.expand(len(x), *ages.shape))
        return {"line": line[:, steps:]}, delayed.transpose(0, 1)


@step_for(Delta)
class DeltaStep(Step):
    """Where a value rose, or fell, since the step before."""

    def prepare(self) -> None:
        assert isinstance(self.operator, Delta)
        self._threshold = self.here.hold(np.asarray(self.operator.threshold, np.float32))

    def run(self, state: Tensors, inputs: Ports[torch.Tensor], steps: int) -> tuple[Tensors, torch.Tensor]:
        assert isinstance(self.operator, Delta)
        x = as_value(inputs[0])
        change = x - torch.cat([state["previous"][None], x[:-1]])
        spikes = change >= self._threshold
        if self.operator.polarities:
            spikes = torch.stack([spikes, -change >= self._threshold], dim=2)
        return {"previous": x[-1]}, spikes.to(torch.uint8)


@step_for(MeanRate, SpikeCount, MaxOverTime)
class ReadoutStep(Step):
    """All steps of a block in one launch."""

    def run(self, state: Tensors, inputs: Ports[torch.Tensor], steps: int) -> tuple[Tensors, torch.Tensor]:
        keeps, key = {MeanRate: ("mean", "sum"), SpikeCount: ("sum", "count"), MaxOverTime: ("max", "top")}[
            type(self.operator)
        ]
        x, pace = paced(inputs[0])
        before, size = state[key], self.inputs[0].size
        seen = state.get("steps", before)
        out = torch.empty((steps, *before.shape), dtype=before.dtype, device=before.device)
        after = torch.empty_like(before)
        each = block(size, 256)
        if out.numel():
            sizes = (before.numel(), steps, pace, size)
            launch(
                read_out, (blocks(before.numel(), each),), x, before, seen, out, after, *sizes, KEEPS=keeps, BLOCK=each
            )
        moved = {"steps": state["steps"] + steps} if "steps" in state else {}
        return {key: after, **moved}, out
