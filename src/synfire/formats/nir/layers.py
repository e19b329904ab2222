"""NIR's synapses, pools and shapes to operators."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from synfire.formats.discretisation import Discretisation
from synfire.formats.nir.hdf5 import Node
from synfire.formats.nir.losses import Losses
from synfire.formats.nir.neurons import plain
from synfire.ops.avg_pool2d import AvgPool2d
from synfire.ops.conv1d import Conv1d
from synfire.ops.conv2d import Conv2d
from synfire.ops.delay import Delay
from synfire.ops.flatten import Flatten
from synfire.ops.linear import Linear
from synfire.ops.membrane import f32
from synfire.ops.operator import Operator
from synfire.ops.scale import Scale
from synfire.ops.signal import Array
from synfire.ops.sum_pool2d import SumPool2d
from synfire.ops.threshold import Threshold


def layer(node: Node, choice: Discretisation, losses: Losses) -> Operator:
    """The operator of a NIR node that is no neuron."""
    return LAYERS[node.type](node, choice, losses)


def _linear(node: Node, choice: Discretisation, losses: Losses) -> Operator:
    weight = f32(node.array("weight"))
    if weight.ndim != 2:
        raise node.error(f"the weight has shape {weight.shape}; synfire takes (output, input): split it, or use Scale")
    bias = f32(node.array("bias")) if node.type == "Affine" else np.zeros(weight.shape[0], np.float32)
    return Linear(weight=weight, bias=np.broadcast_to(bias, weight.shape[:1]) if bias.ndim == 0 else bias)


def _padding(
    node: Node, kernel: tuple[int, ...], dilation: tuple[int, ...], stride: tuple[int, ...]
) -> tuple[int, ...]:
    """Zeros before and after each axis. "same" puts the odd one after, as PyTorch does; it needs a stride of 1."""
    given = node.fields.get("padding")
    if isinstance(given, str):
        if given == "valid":
            return (0, 0) * len(kernel)
        if given != "same" or max(stride) > 1:
            raise node.error(
                f"padding {given!r} with stride {stride} says nothing definite; give the padding as numbers"
            )
        totals = [step * (size - 1) for size, step in zip(kernel, dilation, strict=True)]
        return tuple(half for total in totals for half in (total // 2, total - total // 2))
    return tuple(size for size in node.integers("padding", len(kernel)) for _ in range(2))


def _conv1d(node: Node, choice: Discretisation, losses: Losses) -> Operator:
    weight, stride, dilation = f32(node.array("weight")), node.integers("stride", 1), node.integers("dilation", 1)
    before, after = _padding(node, weight.shape[2:], dilation, stride)
    return Conv1d(
        weight=weight,
        bias=f32(node.array("bias")),
        stride=stride[0],
        padding=(before, after),
        dilation=dilation[0],
        groups=node.integers("groups", 1)[0],
    )


def _conv2d(node: Node, choice: Discretisation, losses: Losses) -> Operator:
    weight, stride, dilation = f32(node.array("weight")), node.integers("stride", 2), node.integers("dilation", 2)
    top, bottom, left, right = _padding(node, weight.shape[2:], dilation, stride)
    return Conv2d(
        weight=weight,
        bias=f32(node.array("bias")),
        stride=(stride[0], stride[1]),
        padding=(top, bottom, left, right),
        dilation=(dilation[0], dilation[1]),
        groups=node.integers("groups", 1)[0],
    )


def _pool(node: Node, choice: Discretisation, losses: Losses) -> Operator:
    kernel, stride, padding = (node.integers(name, 2) for name in ("kernel_size", "stride", "padding"))
    kind = SumPool2d if node.type == "SumPool2d" else AvgPool2d
    return kind(
        kernel=(kernel[0], kernel[1]),
        stride=(stride[0], stride[1]),
        padding=(padding[0], padding[0], padding[1], padding[1]),
    )


def _flatten(node: Node, choice: Discretisation, losses: Losses) -> Operator:
    return Flatten(node.integers("start_dim", 1)[0], node.integers("end_dim", 1)[0])


def _scale(node: Node, choice: Discretisation, losses: Losses) -> Operator:
    return Scale(plain(f32(node.array("scale"))))


def _threshold(node: Node, choice: Discretisation, losses: Losses) -> Operator:
    return Threshold(plain(f32(node.array("threshold"))), strict=True)


def _delay(node: Node, choice: Discretisation, losses: Losses) -> Operator:
    exact = node.array("delay").astype(np.float64) / choice.step_s
    steps: Array = np.rint(exact).astype(np.int64)
    if np.any(steps < 0):
        raise node.error("the delay is below 0 seconds, which would need the future; give it as 0 or above")
    if not np.allclose(exact, steps, rtol=1e-6, atol=1e-6):
        losses.accept(
            "delay",
            f"NIR node {node.name!r} (Delay) has delays that are no multiples of a time step of {choice.step_s} s, such as "
            f"{exact.ravel()[np.argmax(np.abs(exact - steps))]:.6g} steps",
        )
    return Delay(int(steps.ravel()[0]) if steps.size and np.all(steps == steps.ravel()[0]) else steps)


LAYERS: dict[str, Callable[[Node, Discretisation, Losses], Operator]] = {
    "Affine": _linear,
    "Linear": _linear,
    "Conv1d": _conv1d,
    "Conv2d": _conv2d,
    "SumPool2d": _pool,
    "AvgPool2d": _pool,
    "Flatten": _flatten,
    "Scale": _scale,
    "Threshold": _threshold,
    "Delay": _delay,
}
"""How each NIR node type that is no neuron is read."""
