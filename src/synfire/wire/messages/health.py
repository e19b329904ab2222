"""How a worker is: its signs of life, what it did so far, and that it will leave."""

from __future__ import annotations

import msgspec

from synfire.plan.plan import GATEWAY
from synfire.wire.messages.message import Message


class Ping(Message, frozen=True):
    """Answered by a `Pong` with the same token, between two jobs of the compute thread."""

    token: int


class Pong(Message, frozen=True):
    token: int


class Pulse(Message, frozen=True):
    """Use this connection for nothing but a `Beat` every `interval_s` seconds from now on."""

    interval_s: float


class Beat(Message, frozen=True):
    """The sender lives, and its compute thread goes on."""


class Describe(Message, frozen=True):
    """Asks for a `Description`."""


class LinkCount(msgspec.Struct, frozen=True, array_like=True):
    """What left a stage along one link so far, and the time that the worker's thread took for it. `encoded_bytes` is 0 inside a
    worker, where nothing is encoded."""

    receiver: str
    frames: int
    encoded_bytes: int
    array_bytes: int
    send_s: float = 0.0


class StageCount(msgspec.Struct, frozen=True, array_like=True):
    """What a stage did so far: `jobs` ran `samples · steps` in `busy_s` seconds. It is in `epoch` now.

    `checkpoints` are the states of sessions that it has sent to gateways. `spikes` of `places` were 1 in what it gave, in
    the jobs at which it looked, and `active` of `arrived` were not 0 in what came for these. Its synapses that may do both summed `sparse`
    frames event-driven and `dense` ones densely. `requests` are at it now, those that wait for their next frame included.
    """

    model: str
    stage: str
    jobs: int
    samples: int
    steps: int
    busy_s: float
    failures: int
    parameter_bytes: int
    links: tuple[LinkCount, ...]
    epoch: int = 0
    checkpoints: LinkCount = LinkCount(GATEWAY, 0, 0, 0)
    spikes: int = 0
    places: int = 0
    requests: int = 0
    active: int = 0
    arrived: int = 0
    sparse: int = 0
    dense: int = 0


class Description(Message, frozen=True):
    """What a worker hosts, and what it did so far. `url` is where it answers HTTP itself; empty where it does not."""

    who: str
    pid: int
    requests: int
    sessions: int
    buffered_bytes: int
    stages: tuple[StageCount, ...]
    url: str = ""


class Draining(Message, frozen=True):
    """The worker will leave: send it no new request, and say `Drained` when those in flight are answered."""

    who: str


class Drained(Message, frozen=True):
    """The sender has no request in flight at the receiver, and will send none."""


HealthMessage = Ping | Pong | Pulse | Beat | Describe | Description | Draining | Drained
