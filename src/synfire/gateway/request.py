"""What a protocol hands to the data plane, and what it gets back: arrays in the caller's layout, batch first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from synfire.ops import Array


@dataclass(frozen=True)
class Request:
    """One request, not yet checked.

    `inputs` are `(batch, *shape)`, or `(batch, steps, *shape)` for an input on the step clock. `outputs` names those
    that are wanted, none meaning all. `timeout_s` counts from now. `part_steps` is how many time steps a part of a
    streamed answer holds; 0 means 1.
    """

    model: str
    inputs: Mapping[str, Array]
    version: str = ""
    outputs: tuple[str, ...] = ()
    id: str = ""
    session: str = ""
    start: bool = False
    end: bool = False
    timeout_s: float | None = None
    part_steps: int = 0


@dataclass(frozen=True)
class Answer:
    """The outputs of some time steps of a request, or of all of them.

    A readout's output is its value after the last of these steps, `(batch, *shape)`; an output on the step clock is
    `(batch, steps, *shape)`; one on the request clock is `(batch, *shape)` and comes once.
    """

    model: str
    version: str
    id: str
    outputs: Mapping[str, Array]
    first_step: int = 0
    steps: int = 0
    last: bool = True
