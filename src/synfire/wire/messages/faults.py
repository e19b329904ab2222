"""Faults that are injected into a worker, and what it reports of the devices under its stages."""

from __future__ import annotations

import msgspec

from synfire.wire.messages.message import Message


class Impair(Message, frozen=True):
    """Injected fault: the connection to `peer`, an address or `gateway` for each of them, is dropped for `for_s` seconds; or,
    where `delay_s` is above 0, what is sent along it is held back for so long. Answered by `Impaired`."""

    peer: str
    for_s: float
    delay_s: float = 0.0


class Impaired(Message, frozen=True):
    """The answer to `Impair`; `kind` and `text` say why not, if so."""

    kind: str = ""
    text: str = ""


class Inject(Message, frozen=True):
    """Break something of the emulated device that a stage runs on: see `synfire.devices.mending.FaultOrder`. On a processor a bit
    of a state can flip that rests there: see `synfire.worker.membranes`.

    An empty `stage` leaves it to the worker, which draws by the `seed`. Answered by `Injected`.
    """

    fault: str
    stage: str = ""
    place: str = ""
    seed: int = 0
    stuck: bool = False


class Injected(Message, frozen=True):
    """The answer to `Inject`: what broke at which stage, in words; or `kind` and `text` say why nothing did."""

    stage: str = ""
    did: str = ""
    kind: str = ""
    text: str = ""


class Lap(msgspec.Struct, frozen=True, array_like=True):
    """A step of a recovery: how long after the recovery's begin it began, and how long it took, in seconds."""

    name: str
    after_s: float
    took_s: float


class StageMended(Message, frozen=True):
    """The device under a stage had a fault, which began `ago_s` seconds ago and was mended; the stage goes on where it is.

    `replayed` is how many requests were interrupted and computed again, `restored` how many sessions go on from their
    checkpoints. See `synfire.devices.mending.Mending` for the rest.
    """

    model: str
    stage: str
    cause: str
    target: str
    detail: str
    ago_s: float
    laps: tuple[Lap, ...]
    bytes_written: int
    replayed: int
    restored: int = 0


class StageLost(Message, frozen=True):
    """The device under a stage is lost since `ago_s` seconds, and this worker cannot host the stage any more."""

    model: str
    stage: str
    cause: str
    target: str
    reason: str
    ago_s: float


FaultMessage = Impair | Impaired | Inject | Injected | StageMended | StageLost
