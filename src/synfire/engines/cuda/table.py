"""Which operators have a kernel for GPUs, and where. Others run by their reference step, on the host.

Names only: nothing here imports torch or Triton, so that a plan can be explained where neither is installed.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from synfire.graph import Graph
from synfire.ops import OPERATORS, Operator, Signal

KERNELS: Mapping[str, tuple[str, ...]] = {
    "synapses": ("Linear", "Conv1d", "Conv2d", "MatMul", "SelfAttention"),
    "neurons": ("IF", "LIF", "ParametricLIF", "ALIF", "DiscreteLIF", "CubaLIF", "CubaLI", "LeakyIntegrator"),
    "windows": (
        "MaxPool1d", "AvgPool1d", "MaxPool2d", "AvgPool2d", "SumPool2d", "AdaptiveAvgPool2d", "GlobalAvgPool",
        "TokenMean", "TokenSum", "GraphAggregation",
    ),
    "elements": (
        "Add", "Multiply", "AndNot", "Scale", "Shift", "BatchNorm", "Threshold", "Concatenate", "Slice", "Transpose",
        "Reshape", "Flatten", "Identity", "Last", "ArgMax", "Constant",
    ),
    "timing": ("ConstantCurrent", "Sequence", "Bernoulli", "Delay", "Delta", "MeanRate", "SpikeCount", "MaxOverTime"),
}  # fmt: skip
"""The kinds of operators by the module of this package that has their steps."""

_HOMES = {kind: module for module, kinds in KERNELS.items() for kind in kinds}


def has_kernel(operator: Operator) -> bool:
    """Whether an operator of this very class has one."""
    return operator.kind in _HOMES and type(operator) is OPERATORS[operator.kind]


def load(operator: Operator) -> None:
    """Import the module of the operator's step, which enters it in the table of `step`."""
    importlib.import_module(f"{__package__}.{_HOMES[operator.kind]}")


def shaped(*signals: Signal) -> bool:
    """Whether the signals are arrays of numbers whose shape is known."""
    return all(signal.kind.dtype != object and min(signal.shape, default=0) >= 0 for signal in signals)


def on_host(graph: Graph) -> dict[str, str]:
    """The operators of a flat graph that run on the host though they are part of a stage on the GPU, each with the reason."""
    return {name: why for name in graph.order() if (why := _why(graph, name))}


def _why(graph: Graph, name: str) -> str:
    operator = graph.operator(name)
    if not has_kernel(operator):
        return f"there is no GPU kernel for {operator.kind}"
    if not shaped(*graph.signals_into(name), graph.signals()[name]):
        return "what it reads or emits has no fixed shape"
    return ""
