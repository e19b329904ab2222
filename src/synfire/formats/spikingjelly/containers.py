"""SpikingJelly's containers: what they do to time, and the recurrent ones' feedback."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from spikingjelly.activation_based import layer

from synfire.base.errors import UserError
from synfire.formats.spikingjelly import shapes
from synfire.formats.spikingjelly.convert import (
    MERGED,
    SEQUENCE,
    SINGLE,
    Context,
    Converter,
    described,
    numbers,
    require_memory,
    require_once,
    step_mode,
)
from synfire.formats.spikingjelly.sketch import Held, under
from synfire.ops import Kind
from synfire.ops.add import Add
from synfire.ops.linear import Linear


def merged(context: Context, module: Any, name: str, x: Held) -> Held:
    """SeqToANNContainer: its children see time and batch as one axis."""
    return shapes.regrouped(
        _children(context, module, shapes.regrouped(_sequence(module, name, x), *MERGED)), *SEQUENCE
    )


def stepwise(context: Context, module: Any, name: str, x: Held) -> Held:
    """MultiStepContainer: its children see one step after the other."""
    return _children(context, module, _sequence(module, name, x).with_lead(*SINGLE)).with_lead(*SEQUENCE)


def either(context: Context, module: Any, name: str, x: Held) -> Held:
    """StepModeContainer: as its step mode and `stateful` say."""
    if step_mode(module) == "s":
        return _children(context, module, x)
    return (stepwise if module.stateful else merged)(context, module, name, x)


def linear_recurrent(context: Context, module: Any, name: str, x: Held) -> Held:
    """LinearRecurrentContainer: i(t) = W·[x(t), y(t−1)] + b, y(t) = sub_module(i(t)).

    W is parted into a Linear from x and one from y, whose outputs an Add joins; the second one's arrives a step late.
    """
    require_memory(module, name, x)
    require_once(context, module, name)
    weight = numbers(context, under(name, "rc.weight"), module.rc.weight)
    bias = module.rc.bias
    from_x = weight.shape[1] - module.sub_module_out_features
    shift = np.zeros(len(weight), np.float32) if bias is None else numbers(context, under(name, "rc.bias"), bias)
    sketch, step = context.sketch, x.with_lead(*SINGLE)
    forward, back = sketch.unique(under(name, "rc.input")), sketch.unique(under(name, "rc.feedback"))
    current = sketch.add(forward, Linear(weight[:, :from_x], shift), step)
    total = _fed_back(context, under(name, "rc.sum"), current, back)
    output = context.call(module.sub_module, total)
    sketch.add(back, Linear(weight[:, from_x:], np.zeros(len(weight), np.float32)), output)
    sketch.parameters[under(name, "rc.weight")] = [f"{forward}/weight", f"{back}/weight"]
    if bias is not None:
        sketch.parameters[under(name, "rc.bias")] = [f"{forward}/bias"]
    return output.with_lead(*x.lead)


def elementwise_recurrent(context: Context, module: Any, name: str, x: Held) -> Held:
    """ElementWiseRecurrentContainer: y(t) = sub_module(f(y(t−1), x(t))), for f a sum of both."""
    require_memory(module, name, x)
    require_once(context, module, name)
    if not _adds(module.element_wise_function):
        raise UserError(
            f"{described(module, name)} joins y(t−1) and x(t) by a function that is not their sum; write it as a module with a "
            "delayed layer, or pass converters={type: function} to from_module"
        )
    before = set(context.sketch.operators)
    total = _fed_back(context, under(name, "sum"), x.with_lead(*SINGLE), under(name, "pending"))
    output = context.call(module.sub_module, total)
    if output.source in before:
        raise UserError(f"{described(module, name)} holds a sub_module without an operator; remove the container")
    context.sketch.redirect(under(name, "pending"), output.source)
    return output.with_lead(*x.lead)


def converters() -> dict[type, Converter]:
    """Each container's exact class and how it is converted."""
    return {
        layer.SeqToANNContainer: merged,
        layer.MultiStepContainer: stepwise,
        layer.StepModeContainer: either,
        layer.LinearRecurrentContainer: linear_recurrent,
        layer.ElementWiseRecurrentContainer: elementwise_recurrent,
    }


def _children(context: Context, module: Any, x: Held) -> Held:
    for child in module:
        x = context.call(child, x)
    return x


def _sequence(module: Any, name: str, x: Held) -> Held:
    if x.lead != SEQUENCE:
        raise UserError(
            f"{described(module, name)} takes a (time, batch, …) sequence, got a tensor {shapes.spelled(x)}; hand it the whole sequence"
        )
    return x


def _fed_back(context: Context, name: str, x: Held, source: str) -> Held:
    """x(t) plus the last step's output of `source`, which is added to the graph later."""
    late = Held(source, x.signal.with_(kind=Kind.VALUE), x.lead, x.steps)
    return context.sketch.add(name, Add(), x, late, delays=(0, 1))


def _adds(function: Any) -> bool:
    """Whether `function(y, x)` is y + x, told by trying it."""
    y, x = torch.tensor([0.25, -3.0, 1e4]), torch.tensor([7.5, 2.0, -0.125])
    try:
        return bool(torch.equal(function(y, x), y + x))
    except (TypeError, ValueError, RuntimeError):
        return False
