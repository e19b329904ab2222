"""What stands between models and needs none: the largest score, its name, a text, a vote. Each is typed, pure, and one struct.

Arrays are `(batch, *shape)`, or `(batch, steps, *shape)` on the step clock. Further functions are models: Python functions are served as
such.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec
import numpy as np

from synfire.base.errors import UserError
from synfire.chains.templates import filled, names_in
from synfire.ops import Array, Clock, Kind, Signal


class ArgMax(msgspec.Struct, frozen=True, tag="argmax", tag_field="function", forbid_unknown_fields=True):
    """The place of the largest number along the last axis; the first of equal ones."""

    name: ClassVar[str] = "argmax"
    by_sample: ClassVar[bool] = False

    def signal(self, inputs: Mapping[str, Signal]) -> Signal:
        given = _numbers(self.name, _only(self.name, inputs), axes=1)
        return Signal(given.shape[:-1], Kind.INDEX, given.clock)

    def __call__(self, inputs: Mapping[str, Array]) -> Array:
        (values,) = inputs.values()
        return values.argmax(-1).astype(np.int64)


class Softmax(msgspec.Struct, frozen=True, tag="softmax", tag_field="function", forbid_unknown_fields=True):
    """exp(xᵢ) / Σ exp(xⱼ) along the last axis: scores as shares of one."""

    name: ClassVar[str] = "softmax"
    by_sample: ClassVar[bool] = False

    def signal(self, inputs: Mapping[str, Signal]) -> Signal:
        return _numbers(self.name, _only(self.name, inputs), axes=1).with_(kind=Kind.VALUE)

    def __call__(self, inputs: Mapping[str, Array]) -> Array:
        (values,) = inputs.values()
        values = values.astype(np.float32)
        raised = np.exp(values - values.max(-1, keepdims=True))
        return raised / raised.sum(-1, keepdims=True)


class Label(msgspec.Struct, frozen=True, tag="label", tag_field="function", forbid_unknown_fields=True):
    """The name of a class by its number, from 0 on."""

    labels: tuple[str, ...]
    name: ClassVar[str] = "label"
    by_sample: ClassVar[bool] = False

    def signal(self, inputs: Mapping[str, Signal]) -> Signal:
        given = _only(self.name, inputs)
        if given.kind.dtype.kind not in "iu":
            raise UserError(f"function label takes a whole number, got {given}; put an argmax before it")
        return given.with_(kind=Kind.BYTES)

    def __call__(self, inputs: Mapping[str, Array]) -> Array:
        (numbers,) = inputs.values()
        wrong = numbers[(numbers < 0) | (numbers >= len(self.labels))]
        if wrong.size:
            raise UserError(
                f"function label has {len(self.labels)} labels, and none for {wrong.flat[0]}; name more of them"
            )
        return np.array([each.encode() for each in self.labels], object)[numbers]


class Text(msgspec.Struct, frozen=True, tag="text", tag_field="function", forbid_unknown_fields=True):
    """A text from a template over the inputs."""

    text: str
    name: ClassVar[str] = "text"
    by_sample: ClassVar[bool] = True

    def signal(self, inputs: Mapping[str, Signal]) -> Signal:
        check_template(self.text, inputs)
        return Signal((), Kind.BYTES, Clock.REQUEST)

    def __call__(self, inputs: Mapping[str, Array]) -> Array:
        return texts(filled(self.text, inputs))


class Concatenate(msgspec.Struct, frozen=True, tag="concatenate", tag_field="function", forbid_unknown_fields=True):
    """The inputs, in their order, one behind the other along the last axis."""

    name: ClassVar[str] = "concatenate"
    by_sample: ClassVar[bool] = False

    def signal(self, inputs: Mapping[str, Signal]) -> Signal:
        first, *others = inputs.values()
        if not first.shape or any(
            (each.shape[:-1], each.kind, each.clock) != (first.shape[:-1], first.kind, first.clock) for each in others
        ):
            raise UserError(
                f"function concatenate cannot join {_told(inputs)}; they may differ in their last axis alone"
            )
        ends = [each.shape[-1] for each in inputs.values()]
        return first.with_(shape=(*first.shape[:-1], -1 if -1 in ends else sum(ends)))

    def __call__(self, inputs: Mapping[str, Array]) -> Array:
        return np.concatenate(list(inputs.values()), -1)


class Mean(msgspec.Struct, frozen=True, tag="mean", tag_field="function", forbid_unknown_fields=True):
    """The mean of the inputs, number by number, in float32, added in their order."""

    name: ClassVar[str] = "mean"
    by_sample: ClassVar[bool] = False

    def signal(self, inputs: Mapping[str, Signal]) -> Signal:
        return _numbers(self.name, _alike(self.name, inputs)).with_(kind=Kind.VALUE)

    def __call__(self, inputs: Mapping[str, Array]) -> Array:
        total = np.zeros(next(iter(inputs.values())).shape, np.float32)
        for each in inputs.values():
            total = total + each.astype(np.float32)
        return total / np.float32(len(inputs))


class Majority(msgspec.Struct, frozen=True, tag="majority", tag_field="function", forbid_unknown_fields=True):
    """What most of the inputs say; of what equally many say, what the first of these inputs does. Scores, which are hardly ever equal,
    vote for the place of their largest."""

    name: ClassVar[str] = "majority"
    by_sample: ClassVar[bool] = False

    def signal(self, inputs: Mapping[str, Signal]) -> Signal:
        given = _alike(self.name, inputs)
        return ArgMax().signal({self.name: given}) if given.kind.dtype.kind == "f" else given

    def __call__(self, inputs: Mapping[str, Array]) -> Array:
        ballots = [ArgMax()({"": each}) if each.dtype.kind == "f" else each for each in inputs.values()]
        elected = np.empty_like(ballots[0])
        for place in np.ndindex(elected.shape):
            elected[place] = Counter(each[place] for each in ballots).most_common(1)[0][0]
        return elected


Function = ArgMax | Softmax | Label | Text | Concatenate | Mean | Majority

FUNCTIONS: dict[str, type[Any]] = {
    each.name: each for each in (ArgMax, Softmax, Label, Text, Concatenate, Mean, Majority)
}


def texts(*items: str) -> Array:
    """Texts as an array `(batch,)` of bytes."""
    array = np.empty(len(items), object)
    array[:] = [each.encode() for each in items]
    return array


def check_template(template: str, inputs: Mapping[str, Signal]) -> None:
    """Raise `UserError` for names that are no inputs, and inputs that cannot be told in a text."""
    for name in names_in(template):
        if name not in inputs:
            raise UserError(
                f"the template {template!r} reads {{{name}}}, which is no input of this step; its inputs are {sorted(inputs)}"
            )
        if inputs[name].clock is Clock.STEP:
            raise UserError(
                f"the template {template!r} reads {{{name}}}, which has a value at each time step; read the one that is the answer"
            )


def _only(function: str, inputs: Mapping[str, Signal]) -> Signal:
    if len(inputs) != 1:
        raise UserError(f"function {function} takes one input, and is given {sorted(inputs)}")
    return once(next(iter(inputs.values())))


def once(signal: Signal) -> Signal:
    """The signal as others than its reader see it: a value that forms over time is its last."""
    return signal.with_(clock=Clock.REQUEST) if signal.clock is Clock.RUNNING else signal


def _numbers(function: str, signal: Signal, axes: int = 0) -> Signal:
    if signal.kind is Kind.BYTES or len(signal.shape) < axes:
        raise UserError(f"function {function} takes {'a vector' if axes else 'numbers'}, got {signal}")
    return signal


def _alike(function: str, inputs: Mapping[str, Signal]) -> Signal:
    found: Sequence[Signal] = [once(each) for each in inputs.values()]
    if len(found) < 2 or any(each != found[0] for each in found):
        raise UserError(f"function {function} takes two inputs or more that are alike, got {_told(inputs)}")
    return found[0]


def _told(inputs: Mapping[str, Signal]) -> str:
    return ", ".join(f"{name}: {signal}" for name, signal in inputs.items()) or "none"
