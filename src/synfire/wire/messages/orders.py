"""What the controller is ordered to do, and what it has the supervisor do with the workers' processes."""

from __future__ import annotations

import msgspec

from synfire.plan.plan import Plan
from synfire.wire.messages.joining import Joined
from synfire.wire.messages.message import Message
from synfire.wire.recovery import Outcome
from synfire.wire.traffic import Rule
from synfire.wire.wish import Wish


class Load(Message, frozen=True):
    """Serve the model whose flat graph is the blob `digest` of the deployment's store, along `plan`. Answered by `Done`.

    `source` says where it comes from, in words; `services` are the URLs of foreign services, by stage.
    """

    model: str
    version: str
    source: str
    digest: str
    plan: Plan
    services: dict[str, str] = msgspec.field(default_factory=dict)


class Unload(Message, frozen=True):
    """Serve the model no longer, and drop its stages. Answered by `Done` with the same `ticket`."""

    model: str
    ticket: int = 0


class Reload(Message, frozen=True):
    """Serve a model again that was unloaded. Answered by `Done` with the same `ticket`."""

    model: str
    ticket: int = 0


class Wanting(Message, frozen=True):
    """Have a model served as this `wish` says from now on; no longer where there is none. Answered by `Done` with the same `ticket` as soon
    as it is noted, which tells `CHANGED` where it is anything new."""

    model: str
    wish: Wish | None = None
    ticket: int = 0


CHANGED = "changed"
"""What is told of a wish, or a chain, that is another one than before."""


class Steer(Message, frozen=True):
    """Have a name answer by this rule from now on; by none where the rule has no sides. Answered by `Done` with the same `ticket`."""

    rule: Rule
    ticket: int = 0


class Chaining(Message, frozen=True):
    """Have the chain of this `content`, a chain's file as JSON, served from now on; no longer where there is none. Answered by `Done` with the
    same `ticket` when it is noted and every gateway knows it, which tells `CHANGED` where it is anything new."""

    chain: str
    content: bytes = b""
    ticket: int = 0


class Move(Message, frozen=True):
    """Carry out a planned move of that `kind` (see `synfire.control.order`), of a worker where it concerns one; a `doubt` has
    one looked after that somebody takes to be gone. Answered by `Done` with the same `ticket`."""

    kind: str
    worker: str = ""
    ticket: int = 0


class Done(Message, frozen=True):
    """What was asked for is done, and `replayed` calls began again for it, and `restored` sessions will; or `kind` and `text` say
    why not. `told` is what was done, in words, where there is something to say; `ticket` is the order's."""

    kind: str = ""
    text: str = ""
    replayed: int = 0
    restored: int = 0
    told: str = ""
    ticket: int = 0


class Spawn(Message, frozen=True):
    """The controller wants a worker to be started, to listen at `address`; `inside` is what its command line begins with. It is begun
    `anew` with the code that is installed now, in place of what was loaded before.

    Answered by `Spawned`; one that runs already is not started again.
    """

    name: str
    address: str
    http: str = ""
    settings: bytes = b"{}"
    inside: tuple[str, ...] = ()
    device: str = ""
    anew: bool = False


class Spawned(Message, frozen=True):
    """The supervisor tells that a worker is ready; or `kind` and `text` say why it could not be started. What is known of one that runs
    on another machine stands in `joined`."""

    name: str
    pid: int = 0
    addresses: tuple[str, ...] = ()
    url: str = ""
    kind: str = ""
    text: str = ""
    joined: Joined | None = None


class Crew(Message, frozen=True):
    """The first thing that the supervisor tells a controller: the workers that run; of those that are not ready yet only their
    names."""

    workers: tuple[Spawned, ...] = ()


class Signal(Message, frozen=True):
    """The controller wants a worker's process to get a signal."""

    name: str
    number: int


class Exited(Message, frozen=True):
    """The supervisor tells that a worker's process has ended with `code`, and how, in words."""

    name: str
    code: int
    words: str


class Recorded(Message, frozen=True):
    """The supervisor tells that it has written down a recovery of its own, which is to be counted with the others."""

    id: str
    cause: str
    outcome: Outcome


OrderMessage = (
    Load
    | Unload
    | Reload
    | Wanting
    | Steer
    | Chaining
    | Move
    | Done
    | Spawn
    | Spawned
    | Crew
    | Signal
    | Exited
    | Recorded
)
