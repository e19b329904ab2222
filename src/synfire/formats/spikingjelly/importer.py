"""From a SpikingJelly module to a graph."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch
from spikingjelly.activation_based import base
from torch import nn

from synfire.base.errors import UserError
from synfire.formats.spikingjelly import attention, containers, layers, neurons
from synfire.formats.spikingjelly.convert import SEQUENCE, SINGLE, Context, Converter
from synfire.formats.spikingjelly.sketch import Held, Sketch
from synfire.formats.spikingjelly.tracer import Tracer
from synfire.graph import Graph
from synfire.ops import Clock, Kind, Operator, Signal
from synfire.ops.bernoulli import Bernoulli
from synfire.ops.constant_current import ConstantCurrent
from synfire.ops.last import Last
from synfire.ops.mean_rate import MeanRate
from synfire.ops.sequence import Sequence
from synfire.ops.spike_count import SpikeCount

ENCODERS: dict[str, Callable[[int], Operator]] = {
    "constant": ConstantCurrent,
    "bernoulli": Bernoulli,
    "sequence": Sequence,
}
READOUTS: dict[str, Callable[[], Operator]] = {"mean": MeanRate, "sum": SpikeCount, "last": Last}


def from_module(
    net: Any,
    *,
    steps: int,
    input_shape: tuple[int, ...],
    encoder: str | Operator = "constant",
    readout: str = "mean",
    allow: Collection[str] = (),
    labels: list[str] | None = None,
    converters: Mapping[type, Converter] | None = None,
) -> Graph:
    """See `synfire.formats.spikingjelly.from_module`."""
    _check_net(net)
    sketch = Sketch(steps)
    known = {**layers.converters(), **neurons.converters(), **containers.converters(), **attention.converters()}
    context = Context(sketch, {**known, **(converters or {})}, frozenset(allow), _unset)
    tracer = Tracer(context)
    context.call = tracer.enter
    ends = _Ends.beside(net, context.converters)
    output = tracer.follow(net, _encoded(sketch, ends, encoder, tuple(input_shape), _multi_step(net)))
    output = _read_out(sketch, ends, output, readout)
    return sketch.graph(output, _metadata(net, sketch, steps, labels))


def _unset(module: Any, x: Held) -> Held:
    raise UserError(f"{type(module).__name__} is called before tracing began; call converters from from_module only")


def _check_net(net: Any) -> None:
    if not isinstance(net, nn.Module):
        raise UserError(
            f"from_module takes a torch.nn.Module, got {type(net).__name__}; build the net and load its state dict into it first"
        )
    training = [name or "the net" for name, module in net.named_modules() if module.training]
    if training:
        raise UserError(
            f"{training[0]} is in training mode, in which normalisation and dropout depend on the batch; call net.eval() first"
        )


def _multi_step(net: Any) -> bool:
    """Whether the net takes whole sequences."""
    return any(
        isinstance(module, base.MultiStepModule) or getattr(module, "step_mode", "s") == "m" for module in net.modules()
    )


@dataclass(frozen=True)
class _Ends:
    """Names for what stands before and after the net."""

    input: str
    encoder: str
    readout: str

    @classmethod
    def beside(cls, net: Any, converted: Collection[type]) -> _Ends:
        """The usual names, or others where a layer of the net has one of those."""
        paths = {path for path, module in net.named_modules() if type(module) in converted}
        return cls(*(name if name not in paths else f"graph_{name}" for name in ("input", "encoder", "readout")))


def _encoded(sketch: Sketch, ends: _Ends, encoder: str | Operator, shape: tuple[int, ...], multi_step: bool) -> Held:
    """The tensor that the net is called with."""
    if isinstance(encoder, str) and encoder not in (*ENCODERS, "steps", "module"):
        raise UserError(
            f"encoder is {encoder!r}; choose one of {', '.join(ENCODERS)}, steps, module, or an encoder operator"
        )
    lead = SEQUENCE if multi_step else SINGLE
    if encoder == "steps":
        return sketch.input(ends.input, Signal(shape, Kind.VALUE, Clock.STEP)).with_lead(*lead)
    operator = ENCODERS[encoder](sketch.steps) if isinstance(encoder, str) and encoder != "module" else encoder
    whole = (sketch.steps, *shape) if isinstance(operator, Sequence) else shape
    x = sketch.input(ends.input, Signal(whole, Kind.VALUE, Clock.REQUEST))
    return x if isinstance(operator, str) else sketch.add(ends.encoder, operator, x).with_lead(*lead)


def _read_out(sketch: Sketch, ends: _Ends, output: Held, readout: str) -> Held:
    if readout not in READOUTS and readout != "none":
        raise UserError(f"readout is {readout!r}; choose one of {', '.join(READOUTS)}, none")
    if output.source in sketch.inputs:
        raise UserError("the net hands its input on unchanged, so there is nothing to serve; check its forward")
    if output.signal.clock is not Clock.STEP or readout == "none":
        return output
    return sketch.add(ends.readout, READOUTS[readout](), output)


def _metadata(net: Any, sketch: Sketch, steps: int, labels: list[str] | None) -> dict[str, Any]:
    source = {
        "framework": "spikingjelly",
        "version": metadata.version("spikingjelly"),
        "torch": str(torch.__version__),
        "module": type(net).__qualname__,
        "parameters": sketch.parameters,
        "scalars": sketch.scalars,
    }
    return {"steps": steps, "source": source, **({"labels": labels} if labels is not None else {})}
