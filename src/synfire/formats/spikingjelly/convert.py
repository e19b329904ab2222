"""What converters of modules share: the table, numbers out of torch, and the rule of time axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from synfire.base.errors import LossyImport, UserError
from synfire.formats.spikingjelly.shapes import spelled
from synfire.formats.spikingjelly.sketch import Held, Sketch
from synfire.ops import Array

SEQUENCE = ("T", "N")
MERGED = ("TN",)
SINGLE = ("N",)


Converter = Callable[..., Held]
"""`convert(context, module, name, *inputs)` adds the operators of `module`, whose path is `name`, and returns its output."""


@dataclass
class Context:
    """What a converter may use."""

    sketch: Sketch
    converters: dict[type, Converter]
    allow: frozenset[str]
    call: Callable[[Any, Held], Held]
    """Converts a child module on a tensor, as if the source had called it."""
    seen: set[str] = field(default_factory=set)

    def lossy(self, loss: str, message: str) -> None:
        """Raise `LossyImport` unless the user named this loss."""
        if loss not in self.allow:
            raise LossyImport(loss, message)


def numbers(context: Context, name: str, tensor: Any) -> Array:
    """A parameter as float32. Raises `LossyImport` (`precision`) when the source computes in another format."""
    array: Array = tensor.detach().cpu().double().numpy()
    if str(tensor.dtype) != "torch.float32":
        context.lossy("precision", f"{name} computes in {str(tensor.dtype).removeprefix('torch.')}, synfire in float32")
    return array.astype(np.float32)


def step_mode(module: Any) -> str | None:
    """`s`, `m`, or None for a module of plain torch."""
    mode: str | None = getattr(module, "step_mode", None)
    return mode


def require_stateless(module: Any, name: str, x: Held, ndim: int) -> None:
    """Check that a layer without memory, over samples of `ndim` axes, sees time and batch where they are.

    Raises `UserError` when it would take time for batch, or the reverse.
    """
    expected = (SEQUENCE,) if step_mode(module) == "m" else (SINGLE, MERGED)
    if x.lead not in expected:
        cure = (
            "call functional.set_step_mode(net, 'm'), or wrap the layer in layer.SeqToANNContainer"
            if x.lead == SEQUENCE
            else "call functional.set_step_mode(net, 's'), or hand it the whole (time, batch, …) sequence"
        )
        raise UserError(f"{described(module, name)} gets a tensor {spelled(x)}, whose time it would not see; {cure}")
    if len(x.signal.shape) != ndim:
        raise UserError(
            f"{described(module, name)} needs {ndim} axes per sample, got a tensor {spelled(x)}; check input_shape"
        )


def require_memory(module: Any, name: str, x: Held) -> None:
    """Check that a module with memory runs over time, once. Raises `UserError` otherwise."""
    if step_mode(module) == "m" and x.lead != SEQUENCE:
        raise UserError(
            f"{described(module, name)} is in multi-step mode and gets a tensor {spelled(x)}, whose batch it would take for "
            "time; call functional.set_step_mode(net, 's'), or hand it the whole (time, batch, …) sequence"
        )
    if step_mode(module) == "s" and x.lead != SINGLE:
        raise UserError(
            f"{described(module, name)} is in single-step mode and gets a tensor {spelled(x)}, whose time it would take "
            "for batch; call functional.set_step_mode(net, 'm')"
        )


def require_once(context: Context, module: Any, name: str) -> None:
    """Raise `UserError` when a module with memory is called a second time in one forward."""
    if name in context.seen:
        raise UserError(
            f"{described(module, name)} is called more than once in one forward; run the net in multi-step mode "
            "(functional.set_step_mode(net, 'm')) and give each call a neuron layer of its own"
        )
    context.seen.add(name)


def described(module: Any, name: str) -> str:
    return f"{type(module).__name__} {name!r}"
