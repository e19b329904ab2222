"""An imported graph against its SpikingJelly module, spike by spike. Needs torch and SpikingJelly."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from synfire.base.errors import UserError
from synfire.graph import Graph, reference
from synfire.ops import Array, Encoder, Stateless
from synfire.testing.parity import Flips, compare_layers, compare_neurons, neuron_layers, require_parity, teacher_forced


@dataclass(frozen=True)
class Parity:
    """What `check_module` found. `synapses` holds each memoryless layer's largest error, as a part of the layer's scale."""

    end_to_end: list[Flips]
    forced: list[Flips]
    synapses: dict[str, float]
    predictions: Array
    """The class of each sample, which is the same in both."""

    @property
    def spikes(self) -> int:
        return sum(each.spikes for each in self.end_to_end)


def record(net: Any, steps: Array, names: Iterable[str]) -> tuple[dict[str, tuple[Array, Array]], Array]:
    """Run `net` from a reset state on `steps` `(time, batch, …)` and record the modules called `names`.

    Gives (input, output) of each, `(time, batch, …)`, and the net's output. A net in single-step mode is called at each
    step. A module that is called at each step, or on time and batch as one axis, is put in that form too.
    """
    import torch
    from spikingjelly.activation_based import functional

    calls: dict[str, list[tuple[Array, Array]]] = {}
    wanted = {name: module for name, module in net.named_modules() if name in set(names)}
    hooks = [module.register_forward_hook(_recorder(calls, name)) for name, module in wanted.items()]
    x = torch.from_numpy(np.ascontiguousarray(steps, np.float32))
    functional.reset_net(net)
    try:
        with torch.no_grad():
            output = net(x) if multi_step(net) else torch.stack([net(each) for each in x])
    finally:
        for hook in hooks:
            hook.remove()
    functional.reset_net(net)
    found = {
        name: _over_time(name, each, steps.shape[:2]) for name, each in calls.items() if _timed(each, steps.shape[:2])
    }
    return found, output.numpy()


def check_module(net: Any, graph: Graph, inputs: Array, tolerance: float = 1e-5) -> Parity:
    """Compare `net` and the graph imported from it on a batch of requests.

    Checked: every neuron layer end to end and fed the source's own input; every layer without memory, fed that too, within
    `tolerance` of its scale; and the predicted classes. Raises `AssertionError` naming the layer.
    """
    trace = reference.trace(graph, dict.fromkeys(graph.inputs, inputs))
    recorded, answer = record(net, _seen(graph, trace, inputs), graph.operators)
    recorded = {name: tuple(_as_signal(graph, name, array) for array in pair) for name, pair in recorded.items()}  # type: ignore[misc]
    missing = [name for name in neuron_layers(graph) if name not in recorded]
    if missing:
        raise AssertionError(f"the module has no layer {missing[0]!r}, which the graph has")
    forced, end_to_end = compare_neurons(graph, recorded), compare_layers(graph, trace, recorded)
    require_parity(forced)
    synapses = {name: _error(graph, name, *recorded[name]) for name in _memoryless(graph) if name in recorded}
    wrong = [f"{name} by {error:.1e} of its scale" for name, error in synapses.items() if error > tolerance]
    if wrong:
        raise AssertionError("layers differ by more than rounding: " + ", ".join(wrong))
    _require_few(end_to_end)
    return Parity(end_to_end, forced, synapses, _same_classes(graph, trace, answer))


def multi_step(net: Any) -> bool:
    """Whether the net takes whole `(time, batch, …)` sequences."""
    from spikingjelly.activation_based import base

    modules = net.modules()
    return any(isinstance(each, base.MultiStepModule) or getattr(each, "step_mode", "s") == "m" for each in modules)


def _recorder(calls: dict[str, list[tuple[Array, Array]]], name: str) -> Any:
    def hook(module: Any, given: Any, output: Any) -> None:
        calls.setdefault(name, []).append((given[0].detach().numpy().copy(), output.detach().numpy().copy()))

    return hook


def _timed(calls: list[tuple[Array, Array]], lead: tuple[int, ...]) -> bool:
    """Whether the module runs at each step, and not after the mean over time."""
    return len(calls) > 1 or lead[0] == 1 or calls[0][0].shape[0] != lead[1] or calls[0][0].shape[:2] == lead


def _over_time(name: str, calls: list[tuple[Array, Array]], lead: tuple[int, ...]) -> tuple[Array, Array]:
    steps, batch = lead
    given, output = (np.stack(parts) for parts in zip(*calls, strict=True))
    if len(calls) == 1:
        return tuple(each[0].reshape(steps, batch, *_rest(each[0], steps, batch)) for each in (given, output))
    if len(calls) != steps:
        raise UserError(
            f"layer {name!r} is called {len(calls)} times in {steps} steps, so its spikes cannot be told apart"
        )
    return given, output


def _rest(array: Array, steps: int, batch: int) -> tuple[int, ...]:
    return array.shape[2:] if array.shape[:2] == (steps, batch) else array.shape[1:]


def _seen(graph: Graph, trace: reference.Trace, inputs: Array) -> Array:
    """What the net is called with: what the encoder emits, or the input itself."""
    encoders = [name for name in graph.order() if isinstance(graph.operators[name], Encoder)]
    return trace.emitted[encoders[0]] if encoders else inputs


def _as_signal(graph: Graph, name: str, array: Array) -> Array:
    """The recorded array in the shape of the operator's signals: a source may split channels into heads."""
    shapes = (graph.signals()[name].shape, *(signal.shape for signal in graph.signals_into(name)))
    fitting = [shape for shape in shapes if int(np.prod(shape)) == int(np.prod(array.shape[2:]))]
    return array.reshape(*array.shape[:2], *fitting[0]) if array.shape[2:] not in shapes and fitting else array


def _memoryless(graph: Graph) -> list[str]:
    return [
        name
        for name in graph.order()
        if isinstance(graph.operators[name], Stateless) and len(graph.arriving(name)) == 1
    ]


def _error(graph: Graph, name: str, given: Array, output: Array) -> float:
    ours = teacher_forced(graph.operator(name), graph, name, given)
    scale = max(1.0, float(np.sqrt(np.mean(np.square(output)))))
    return float(np.max(np.abs(ours.astype(np.float64) - output))) / scale


def _require_few(end_to_end: list[Flips]) -> None:
    """The first layer in which spikes flip must show that they do by rounding; later ones may follow it."""
    first = next((each for each in end_to_end if each.flips), None)
    if first is not None:
        require_parity([first], limit=1.0)
        flips, spikes = sum(each.flips for each in end_to_end), sum(each.spikes for each in end_to_end)
        if flips > max(1.0, 1e-5 * spikes):
            raise AssertionError(f"end to end {flips} spikes of {spikes} flipped; the first in {first}")


def _same_classes(graph: Graph, trace: reference.Trace, answer: Array) -> Array:
    (output,) = graph.outputs.values()
    ours = trace.emitted[output][-1]
    theirs = answer.mean(0) if answer.ndim > ours.ndim else answer
    if not np.array_equal(ours.argmax(-1), theirs.argmax(-1)):
        wrong = np.nonzero(ours.argmax(-1) != theirs.argmax(-1))[0]
        raise AssertionError(f"the predictions of samples {wrong.tolist()} differ")
    classes: Array = ours.argmax(-1)
    return classes
