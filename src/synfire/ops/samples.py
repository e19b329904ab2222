"""A batch taken sample by sample, for operators that may find one of them at fault."""

from __future__ import annotations

from collections.abc import Callable

from synfire.base.errors import UserError
from synfire.ops.signal import Array


def each_sample(function: Callable[..., Array], *inputs: Array) -> list[Array]:
    """`function` of each sample of `inputs`, `(batch, …)`. Its `UserError` is raised with the sample's index added.

    A batch of one has no index to tell apart, and its error stays as it is.
    """
    found = []
    for index, sample in enumerate(zip(*inputs, strict=True)):
        try:
            found.append(function(*sample))
        except UserError as error:
            if len(inputs[0]) == 1:
                raise
            raise UserError(f"sample {index} of the batch (counted from 0): {error}") from error
    return found
