"""Arrays of a chain's calls, between how routes hold them and how callers see them, in which steps read each other's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from synfire.base.errors import UserError
from synfire.gateway.call import Part
from synfire.ops import Array, Clock, Signal

Arrays = Mapping[str, Array]
"""Arrays by name, batch first."""


def as_seen(signals: Mapping[str, Signal], inputs: Arrays) -> dict[str, Array]:
    """A call's inputs as callers see them."""
    return {name: inputs[name].swapaxes(0, 1) if signal.timed else inputs[name] for name, signal in signals.items()}


def as_part(
    signals: Mapping[str, Signal], outputs: Arrays, first_step: int = 0, steps: int = 0, last: bool = True
) -> Part:
    """Outputs as a part of the answer; those that a skipped step would give are not in it."""
    return Part({name: _held(signals[name], array) for name, array in outputs.items()}, first_step, steps, last)


def one_sample(inputs: Arrays, number: int) -> dict[str, Array]:
    """The inputs of one sample."""
    return {name: array[number : number + 1] for name, array in inputs.items()}


def joined_samples(found: Sequence[Arrays]) -> dict[str, Array]:
    """The outputs of samples that went their ways one by one. Raises `UserError` where some give what others do not."""
    if any(each.keys() != found[0].keys() for each in found):
        told = ", or ".join(dict.fromkeys(str(sorted(each)) for each in found))
        raise UserError(
            f"the samples of this request take different ways, which give {told}; send them in a request each"
        )
    return {name: np.concatenate([each[name] for each in found]) for name in found[0]}


def _held(signal: Signal, array: Array) -> Array:
    if signal.clock is Clock.RUNNING:
        return array[None]
    return array.swapaxes(0, 1) if signal.timed else array
