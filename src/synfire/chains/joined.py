"""A chain that was found to fit together, with the types of all that it takes and gives: what gateways are told."""

from __future__ import annotations

import msgspec

from synfire.base.errors import PermanentError
from synfire.chains.chain import Chain
from synfire.ops import Signal


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """A chain that fits together. Signals are those of one sample, as callers see it.

    `order` are its steps, each behind those that it reads; `gives` what each gives, and `streams` the step whose answer is given as it
    forms, where there is one. With `by_sample` each sample of a request goes its own way. `plain` are the
    models that take one sample at a time, without an axis that counts them.
    """

    chain: Chain
    inputs: dict[str, Signal]
    outputs: dict[str, Signal]
    order: tuple[str, ...]
    gives: dict[str, dict[str, Signal]]
    by_sample: bool = False
    streams: str = ""
    open_ended: bool = False
    plain: tuple[str, ...] = ()

    def document(self) -> bytes:
        """All of it, to be told to a gateway."""
        return msgspec.json.encode(self)


def read_joined(document: bytes) -> Joined:
    """The chain in a `document`. Raises `PermanentError` for one that is of another version of synfire, or damaged."""
    try:
        return msgspec.json.decode(document, type=Joined)
    except msgspec.MsgspecError as error:
        raise PermanentError(
            f"the chain that this gateway is told cannot be read ({error}); start the deployment again"
        ) from error
