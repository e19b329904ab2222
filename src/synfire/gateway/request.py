"""What a protocol hands to the data plane, and what it gets back: arrays in the caller's layout, batch first."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from synfire.gateway.side import Side
from synfire.ops import Array


class Request(msgspec.Struct, frozen=True):
    """One request, not yet checked.

    `inputs` are `(batch, *shape)`, or `(batch, steps, *shape)` for an input on the step clock. `outputs` names those
    that are wanted, none meaning all. `timeout_s` counts from now. `part_steps` is how many time steps a part of a
    streamed answer holds; 0 means 1. One that is made `within` a call that this gateway has accepted, by a chain, is answered here,
    also while the gateway shuts down. Where a name answers by a rule, calls of one session, else of one `caller`, else of one `id`
    are answered by the same side; one that was chosen already is given as `side`, and `model` is that.
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
    within: bool = False
    caller: str = ""
    side: Side | None = None


class Answer(msgspec.Struct, frozen=True):
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
