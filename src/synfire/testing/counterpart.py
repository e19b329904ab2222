"""A graph's counterpart in SpikingJelly or snnTorch: their layers and neurons with the graph's weights, to compare with.

Needs torch and the framework, so it is imported by those who found them only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synfire.base.errors import UserError
from synfire.graph import Graph, Synapse, strong_components
from synfire.ops import Operator

Layer = Callable[..., Tensor]
"""Takes the tensors of one time step, or of all, `(batch or time·batch, …)`."""


class Counterpart(nn.Module):  # type: ignore[misc]
    """Runs a flat graph's operators as torch layers on `(time, batch, …)` tensors, layer by layer over all steps.

    Only cycles go step by step; with `stepwise` everything does, as snnTorch's users write it. `neurons` makes the module
    of a neuron, or returns None for one that the framework lacks. Raises `UserError` for an operator without counterpart.
    """

    def __init__(self, graph: Graph, neurons: Callable[[Operator, bool], nn.Module | None], stepwise: bool) -> None:
        super().__init__()
        self._graph = graph
        names = {name: [s.source for s in graph.arriving(name)] for name in graph.order()}
        components = [frozenset(graph.order())] if stepwise else strong_components(names)
        self._parts = [tuple(name for name in graph.order() if name in members) for members in components]
        self._neurons: dict[str, nn.Module] = {}
        self._layers: dict[str, Layer] = {}
        for part in self._parts:
            for name in part:
                self._add(name, neurons, single_step=stepwise or self._is_cycle(part))
        self._modules_kept = nn.ModuleList(self._neurons.values())

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        steps = self._graph.steps
        values: dict[str, Tensor] = dict(inputs)
        for name, signal in self._graph.inputs.items():
            steps = steps or (len(inputs[name]) if signal.timed else steps)
        for part in self._parts:
            if len(part) == 1 and not self._is_cycle(part) and not self._stepped(part[0]):
                values[part[0]] = self._sequence(part[0], values, steps or 1)
            else:
                values |= self._step_by_step(part, values, steps or 1)
        return {name: values[source] for name, source in self._graph.outputs.items()}

    def reset(self) -> None:
        """Forget every neuron's state, as frameworks require between requests."""
        for neuron in self._neurons.values():
            neuron.reset()

    def _add(self, name: str, neurons: Callable[[Operator, bool], nn.Module | None], single_step: bool) -> None:
        operator = self._graph.operator(name)
        module = neurons(operator, single_step)
        if module is not None:
            self._neurons[name] = module
            module.single_step = single_step
        elif operator.kind not in ("ConstantCurrent", "MeanRate"):
            self._layers[name] = layer(operator)

    def _is_cycle(self, part: tuple[str, ...]) -> bool:
        return any(s.delay_steps and s.source in part and s.target in part for s in self._graph.synapses)

    def _stepped(self, name: str) -> bool:
        return name in self._neurons and bool(self._neurons[name].single_step)

    def _sequence(self, name: str, values: Mapping[str, Tensor], steps: int) -> Tensor:
        """One operator over all time steps."""
        arriving = [_delayed(values[s.source], s.delay_steps) for s in self._graph.arriving(name)]
        kind = self._graph.operator(name).kind
        if kind == "ConstantCurrent":
            return arriving[0].expand(steps, *arriving[0].shape)
        if kind == "MeanRate":
            return arriving[0].cumsum(0) / torch.arange(1, steps + 1).view(-1, *[1] * (arriving[0].dim() - 1))
        if name in self._neurons:
            return self._neurons[name](*arriving)
        merged = self._layers[name](*(each.flatten(0, 1) for each in arriving))
        return merged.view(steps, -1, *merged.shape[1:])

    def _step_by_step(self, part: tuple[str, ...], values: Mapping[str, Tensor], steps: int) -> dict[str, Tensor]:
        """The operators of a cycle, time step after time step."""
        history: dict[str, list[Tensor]] = {name: [] for name in part}
        for t in range(steps):
            for name in part:
                arriving = [self._at(s, t, history, values) for s in self._graph.arriving(name)]
                history[name].append(self._step(name, t, arriving, history))
        return {name: torch.stack(each) for name, each in history.items()}

    def _step(self, name: str, t: int, arriving: list[Tensor], history: Mapping[str, list[Tensor]]) -> Tensor:
        kind = self._graph.operator(name).kind
        if kind == "ConstantCurrent":
            return arriving[0]
        if kind == "MeanRate":
            return (history[name][-1] * t + arriving[0]) / (t + 1) if t else arriving[0]
        found: Tensor = self._neurons[name](*arriving) if name in self._neurons else self._layers[name](*arriving)
        return found

    def _at(self, s: Synapse, t: int, history: Mapping[str, list[Tensor]], values: Mapping[str, Tensor]) -> Tensor:
        """What arrives along a synapse at step t; zeros before the first value."""
        timed = self._graph.signals()[s.source].timed
        source = history.get(s.source, values.get(s.source))
        if not timed:
            return values[s.source]
        if t >= s.delay_steps:
            assert source is not None
            return source[t - s.delay_steps]
        batch = next(iter(values.values())).shape[0 if not timed or not self._timed_input() else 1]
        return torch.zeros(batch, *self._graph.signals()[s.source].shape)

    def _timed_input(self) -> bool:
        return next(iter(self._graph.inputs.values())).timed


def _delayed(sequence: Tensor, steps: int) -> Tensor:
    if not steps:
        return sequence
    return torch.cat([torch.zeros_like(sequence[:steps]), sequence[:-steps]])


def layer(operator: Operator) -> Layer:
    """The torch function of an operator without memory, on `(batch, …)`. Raises `UserError` for one that has none."""
    if operator.kind not in _LAYERS:
        raise UserError(f"{operator.kind} has no counterpart in the other framework; leave this model out")
    return _LAYERS[operator.kind](operator)


def _conv2d(op: Any) -> Layer:
    weight, bias = torch.from_numpy(op.weight.copy()), torch.from_numpy(op.bias.copy())
    top, bottom, left, right = op.padding
    if (top, left) == (bottom, right):
        return lambda x: F.conv2d(x, weight, bias, op.stride, (top, left), op.dilation, op.groups)
    return lambda x: F.conv2d(F.pad(x, (left, right, top, bottom)), weight, bias, op.stride, 0, op.dilation, op.groups)


def _conv1d(op: Any) -> Layer:
    weight, bias = torch.from_numpy(op.weight.copy()), torch.from_numpy(op.bias.copy())
    before, after = op.padding
    return lambda x: F.conv1d(F.pad(x, (before, after)), weight, bias, op.stride, 0, op.dilation, op.groups)


def _linear(op: Any) -> Layer:
    weight, bias = torch.from_numpy(op.weight.copy()), torch.from_numpy(op.bias.copy())
    return lambda x: F.linear(x, weight, bias)


def _batch_norm(op: Any) -> Layer:
    mean, var, gamma, beta = (torch.from_numpy(each.copy()) for each in (op.mean, op.variance, op.gain, op.shift))
    return lambda x: F.batch_norm(x, mean, var, gamma, beta, False, 0.0, float(op.epsilon))


def _attention(op: Any) -> Layer:
    def apply(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if op.layout == "channels_first":
            q, k, v = (each.transpose(1, 2) for each in (q, k, v))
        heads = [each.unflatten(2, (op.heads, -1)).transpose(1, 2) for each in (q, k, v)]
        mixed = (heads[0] @ (heads[1].transpose(2, 3) @ heads[2])) * op.scale
        joined = mixed.transpose(1, 2).flatten(2)
        return joined.transpose(1, 2) if op.layout == "channels_first" else joined

    return apply


def _fold(join: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Any], Layer]:
    def make(op: Any) -> Layer:
        def apply(first: Tensor, *rest: Tensor) -> Tensor:
            for each in rest:
                first = join(first, each)
            return first

        return apply

    return make


def _axis(axis: int) -> int:
    return axis + 1 if axis >= 0 else axis


_LAYERS: dict[str, Callable[[Any], Layer]] = {
    "Conv2d": _conv2d,
    "Conv1d": _conv1d,
    "Linear": _linear,
    "BatchNorm": _batch_norm,
    "SelfAttention": _attention,
    "Add": _fold(torch.add),
    "Multiply": _fold(torch.mul),
    "MaxPool2d": lambda op: (
        lambda x: F.max_pool2d(x, op.kernel, op.stride, (op.padding[0], op.padding[2]), op.dilation, op.ceil_mode)
    ),
    "AvgPool2d": lambda op: (
        lambda x: F.avg_pool2d(
            x,
            op.kernel,
            op.stride,
            (op.padding[0], op.padding[2]),
            op.ceil_mode,
            op.count_include_pad,
            op.divisor or None,
        )
    ),
    "AdaptiveAvgPool2d": lambda op: lambda x: F.adaptive_avg_pool2d(x, op.size),
    "GlobalAvgPool": lambda op: (
        lambda x: x.flatten(2).mean(2) if not op.keepdims else x.mean(tuple(range(2, x.dim())), True)
    ),
    "Flatten": lambda op: lambda x: x.flatten(_axis(op.start_axis), _axis(op.end_axis)),
    "Reshape": lambda op: lambda x: x.reshape(len(x), *op.shape),
    "Transpose": lambda op: lambda x: x.permute(0, *(axis + 1 for axis in op.axes)),
    "Slice": lambda op: lambda x: x.narrow(op.axis + 1, op.start, op.stop - op.start),
    "TokenSum": lambda op: lambda x: x.sum(_axis(op.axis), op.keepdims),
    "TokenMean": lambda op: lambda x: x.mean(_axis(op.axis), op.keepdims),
    "Identity": lambda op: lambda x: x,
}


class RecurrentALIF(nn.Module):  # type: ignore[misc]
    """The adaptive neuron, which SpikingJelly does not have, as its users write it: one step of torch at a time."""

    def __init__(self, operator: Any) -> None:
        super().__init__()
        self._constants = {
            name: torch.from_numpy(np.array(getattr(operator, name), np.float32))
            for name in ("alpha", "rho", "b0", "beta")
        }
        self._strict = operator.strict
        self.reset()

    def reset(self) -> None:
        self._u = self._b = self._s = torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        c = self._constants
        self._b = c["rho"] * self._b + (1 - c["rho"]) * self._s
        threshold = c["b0"] + c["beta"] * self._b
        self._u = c["alpha"] * self._u + (1 - c["alpha"]) * x - threshold * self._s
        self._s = (self._u > threshold if self._strict else self._u >= threshold).float()
        return self._s


def spikingjelly_neuron(operator: Any, single_step: bool) -> nn.Module | None:
    """SpikingJelly's module of a neuron, in single-step or multi-step mode; None for what is no neuron."""
    from spikingjelly.activation_based import neuron

    mode = {"step_mode": "s" if single_step else "m"}
    if operator.kind == "ALIF":
        return RecurrentALIF(operator)
    if operator.kind not in ("IF", "LIF", "ParametricLIF"):
        return None
    common = {
        "v_threshold": float(operator.threshold),
        "v_reset": None if operator.reset == "soft" else float(operator.v_reset),
        **mode,
    }
    if operator.kind == "IF":
        return neuron.IFNode(**common)
    if operator.kind == "LIF":
        return neuron.LIFNode(tau=float(operator.tau), decay_input=operator.decay_input, **common)
    found = neuron.ParametricLIFNode(decay_input=operator.decay_input, **common)
    with torch.no_grad():
        found.w.copy_(torch.logit(torch.tensor(float(operator.inv_tau))))
    return found


class SnnTorchNeuron(nn.Module):  # type: ignore[misc]
    """snnTorch's Leaky for a LIF with hard reset to 0, one step at a time; a decayed input is scaled before it."""

    def __init__(self, operator: Any) -> None:
        super().__init__()
        import snntorch

        self._gain = 1 / float(operator.tau) if operator.kind == "LIF" and operator.decay_input else 1.0
        beta = 1 - 1 / float(operator.tau) if operator.kind == "LIF" else 1.0
        reset = "subtract" if operator.reset == "soft" else "zero"
        self._leaky = snntorch.Leaky(
            beta=beta, threshold=float(operator.threshold), reset_mechanism=reset, reset_delay=False
        )
        self.reset()

    def reset(self) -> None:
        self._membrane = self._leaky.init_leaky() if hasattr(self._leaky, "init_leaky") else self._leaky.reset_mem()

    def forward(self, x: Tensor) -> Tensor:
        spikes, self._membrane = self._leaky(x * self._gain, self._membrane)
        return spikes


def snntorch_neuron(operator: Any, single_step: bool) -> nn.Module | None:
    """snnTorch's module of a neuron. Raises `UserError` for one that it cannot express."""
    if operator.kind in ("IF", "LIF") and float(operator.v_reset) == 0:
        return SnnTorchNeuron(operator)
    if operator.kind in ("IF", "LIF", "ParametricLIF", "ALIF"):
        raise UserError(f"snnTorch has no counterpart of this {operator.kind}")
    return None
