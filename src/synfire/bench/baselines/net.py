"""A graph as an expert's torch module: time folded into the batch, neurons over all steps at once, constants computed once.

Needs torch, so it is imported by those who found it only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from synfire.bench.baselines.neuron import Neuron, neuron
from synfire.graph import Graph, Synapse, strong_components
from synfire.ops import Operator
from synfire.testing.counterpart import layer

Layer = Callable[..., Tensor]
"""An operator without memory, on `(time·batch, …)`."""


class Net(nn.Module):  # type: ignore[misc]
    """Runs a flat graph, its BatchNorm folded, on `(time, batch, …)` tensors in the order of `graph.inputs`; gives its outputs' likewise.

    A value that is the same at all steps has a time axis of 1 until neurons or a readout see it. Only cycles are unrolled
    step by step. For blocks of `steps` of `batch` samples. Raises `UserError` for an operator that has no torch code here.
    """

    def __init__(self, graph: Graph, steps: int, batch: int) -> None:
        super().__init__()
        self._graph, self._steps, self._batch = graph, steps, batch
        self._timed = [signal.timed for signal in graph.inputs.values()]
        names = {name: [each.source for each in graph.arriving(name)] for name in graph.order()}
        self._parts = [tuple(n for n in graph.order() if n in members) for members in strong_components(names)]
        self._neurons: dict[str, Neuron] = {}
        self._layers: dict[str, Layer] = {}
        for name in graph.order():
            self._add(graph.operator(name), name)
        self._kept = nn.ModuleList(each for each in self._layers.values() if isinstance(each, nn.Module))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        given = (x if timed else x[None] for x, timed in zip(inputs, self._timed, strict=True))
        values: dict[str, Tensor] = dict(zip(self._graph.inputs, given, strict=True))
        for part in self._parts:
            if any(each.delay_steps and each.target in part and each.source in part for each in self._graph.synapses):
                values |= self._unrolled(part, values)
            else:
                values[part[0]] = self._whole(part[0], values)
        return tuple(values[source] for source in self._graph.outputs.values())

    def _add(self, operator: Operator, name: str) -> None:
        found = neuron(operator)
        if found is not None:
            self._neurons[name] = found
        elif operator.kind not in ("ConstantCurrent", "MeanRate"):
            make: Callable[[Any], Layer] = _WITH_WEIGHTS.get(operator.kind, layer)
            self._layers[name] = make(operator)

    def _whole(self, name: str, values: Mapping[str, Tensor]) -> Tensor:
        """One operator over all time steps."""
        arriving = [_later(values[each.source], each.delay_steps, self._steps) for each in self._graph.arriving(name)]
        kind = self._graph.operator(name).kind
        if kind == "ConstantCurrent":
            return arriving[0]
        if kind == "MeanRate":
            seen = torch.arange(1, self._steps + 1, dtype=torch.float32)
            return self._stretched(arriving[0]).cumsum(0) / seen.view(-1, *[1] * (arriving[0].dim() - 1))
        if name in self._neurons:
            return self._neurons[name].all_steps(arriving[0], self._steps)
        return self._folded(self._layers[name], arriving)

    def _folded(self, layer: Layer, arriving: Sequence[Tensor]) -> Tensor:
        """A layer on all time steps at once, as one large batch."""
        if len({len(each) for each in arriving}) > 1:
            arriving = [self._stretched(each) for each in arriving]
        found = layer(*(each.flatten(0, 1) for each in arriving))
        return found.unflatten(0, (len(arriving[0]), self._batch))

    def _stretched(self, value: Tensor) -> Tensor:
        return value if len(value) == self._steps else value.expand(self._steps, *value.shape[1:])

    def _unrolled(self, part: Sequence[str], values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The operators of a cycle, step after step."""
        emitted: dict[str, list[Tensor]] = {name: [] for name in part}
        states: dict[str, Any] = {name: self._neurons[name].start() for name in part if name in self._neurons}
        for t in range(self._steps):
            for name in part:
                arriving = [self._at(each, t, emitted, values) for each in self._graph.arriving(name)]
                if name in states:
                    states[name], found = self._neurons[name].step(states[name], arriving[0])
                else:
                    found = self._layers[name](*arriving)
                emitted[name].append(found)
        return {name: torch.stack(each) for name, each in emitted.items()}

    def _at(
        self, synapse: Synapse, t: int, emitted: Mapping[str, list[Tensor]], values: Mapping[str, Tensor]
    ) -> Tensor:
        """What arrives along a synapse at step t; zeros before the first value."""
        if t < synapse.delay_steps:
            return torch.zeros(self._batch, *self._graph.signals()[synapse.source].shape)
        if synapse.source in emitted:
            return emitted[synapse.source][t - synapse.delay_steps]
        source = values[synapse.source]
        return source[t - synapse.delay_steps if len(source) > 1 else 0]


def _later(value: Tensor, delay_steps: int, steps: int) -> Tensor:
    """What arrives along a delayed synapse: zeros first."""
    if not delay_steps:
        return value
    value = value.expand(steps, *value.shape[1:])
    return torch.cat([torch.zeros_like(value[:delay_steps]), value[: steps - delay_steps]])


def _loaded(module: nn.Module, operator: Any) -> nn.Module:
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(np.array(operator.weight, np.float32)))
        module.bias.copy_(torch.from_numpy(np.array(operator.bias, np.float32)))
    return module


def _linear(operator: Any) -> Layer:
    outputs, inputs = operator.weight.shape
    return _loaded(nn.Linear(inputs, outputs), operator)


def _conv2d(operator: Any) -> Layer:
    outputs, inputs, *kernel = operator.weight.shape
    top, bottom, left, right = operator.padding
    even = (top, left) == (bottom, right)
    found = nn.Conv2d(
        inputs * operator.groups, outputs, tuple(kernel), operator.stride, (top, left) if even else 0,
        operator.dilation, operator.groups,
    )  # fmt: skip
    found = _loaded(found, operator)
    return found if even else nn.Sequential(nn.ZeroPad2d((left, right, top, bottom)), found)


def _conv1d(operator: Any) -> Layer:
    outputs, inputs, kernel = operator.weight.shape
    before, after = operator.padding
    even = before == after
    found = nn.Conv1d(
        inputs * operator.groups,
        outputs,
        kernel,
        operator.stride,
        before if even else 0,
        operator.dilation,
        operator.groups,
    )
    found = _loaded(found, operator)
    return found if even else nn.Sequential(nn.ConstantPad1d((before, after), 0.0), found)


_WITH_WEIGHTS: dict[str, Callable[[Any], Layer]] = {"Linear": _linear, "Conv2d": _conv2d, "Conv1d": _conv1d}
