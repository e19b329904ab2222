"""Between the controller and its gateways, and from gateway to gateway."""

from __future__ import annotations

import msgspec

from synfire.devices import Cores
from synfire.plan.plan import Plan
from synfire.wire.chain import ChainBrief, ChainState
from synfire.wire.codec import Tensor
from synfire.wire.condition import Condition
from synfire.wire.messages.message import Message
from synfire.wire.traffic import Rule, TrafficCount
from synfire.wire.wish import Wished


class Attend(Message, frozen=True):
    """A gateway tells the controller that it is there: the epoch that the calls of each model follow at it, by model."""

    epochs: dict[str, int]


class Member(msgspec.Struct, frozen=True, array_like=True):
    """A worker: where it takes packets, and where it answers HTTP, if it does."""

    name: str
    address: str
    url: str = ""


class Members(Message, frozen=True):
    """The controller tells gateways which workers there are: be connected to these, and to no other."""

    workers: tuple[Member, ...]


class Direct(Message, frozen=True):
    """The controller tells a gateway how the calls of a model go now: along `plan` in `epoch`. Answered by `Done`.

    Calls are `held` while stages move, and answered by the temporary error `failure` where that is set. The model's flat graph is the
    blob `digest` of the deployment's store. One that was loaded `on_demand` is unloaded when nobody calls it. Told again it changes
    nothing.
    """

    model: str
    version: str
    digest: str
    plan: Plan
    epoch: int
    held: bool = False
    failure: str = ""
    retry_after_s: float = 1.0
    priority: int = 0
    on_demand: bool = False


class Withdraw(Message, frozen=True):
    """Serve the model no longer. Answered by `Done`."""

    model: str


class Traffic(Message, frozen=True):
    """Names that answer by a rule answer by these, and by no other, from now on. Answered by `Done`."""

    rules: tuple[Rule, ...] = ()


class Chained(Message, frozen=True):
    """A chain that was asked for by HTTP is to be served so from now on; no longer where it has no content. Answered by `Done`. Told again it
    changes nothing."""

    chain: ChainState


class Whole(Message, frozen=True):
    """The controller has told everything: the gateway serves these models, and of the chains that were asked for by HTTP these, and no
    other; names answer by these rules, and by no other. Answered by `Done`."""

    models: tuple[str, ...]
    rules: tuple[Rule, ...] = ()
    chains: tuple[str, ...] = ()


class Cut(Message, frozen=True):
    """A gateway has lost its connection to a worker; or the worker `by`, where one is named, cannot reach it, which has tried for
    `for_s` seconds. A worker that `by` finds elsewhere than the gateway does is called by that address."""

    worker: str
    by: str = ""
    for_s: float = 0.0


class Hand(msgspec.Struct, frozen=True, array_like=True):
    """A worker on which the controller counts: its device, what it shares its fate with, and whether it hosts or is to be a spare. One
    that has `joined` was begun on another machine, one that is `leaving` is given nothing any more. It may hold `memory_bytes`, of which
    `free_bytes` are free, or as much as it likes; of its device it may use `cores`, of which `free_cores` are free, where these are counted; at
    `url` it answers the Open Inference Protocol itself, if it does."""

    name: str
    device: str = "cpu"
    group: str = ""
    role: str = "host"
    status: str = "ready"
    joined: bool = False
    leaving: bool = False
    memory_bytes: int | None = None
    free_bytes: int | None = None
    address: str = ""
    url: str = ""
    cores: Cores | None = None
    free_cores: Cores | None = None


class Standing(Message, frozen=True):
    """The controller's news: the plans that calls follow, the workers' emulated hosts, ready spares, and recoveries by cause
    and outcome. `conditions` says of each model how it is served; `warm` whether all is calm, and every spare prepared; `rules` by
    which rules names answer; `workers` who is counted on; `wishes`
    what was asked for by HTTP, and what has become of it; `chains` the chains that were;
    `traffic` what all gateways together have counted of names that answer by a rule; `awaited` whether somebody has still to say which models
    there are; `vacancies` how many places no worker fills, by kind, where others begin them."""

    plans: tuple[Plan, ...] = ()
    sources: dict[str, str] = msgspec.field(default_factory=dict)
    hosts: dict[str, str] = msgspec.field(default_factory=dict)
    spares: int = 0
    spares_wanted: int = 0
    recoveries: tuple[tuple[str, str, int], ...] = ()
    warm: bool = False
    conditions: dict[str, Condition] = msgspec.field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    workers: tuple[Hand, ...] = ()
    wishes: tuple[Wished, ...] = ()
    chains: tuple[ChainBrief, ...] = ()
    traffic: tuple[TrafficCount, ...] = ()
    awaited: bool = False
    vacancies: dict[str, int] = msgspec.field(default_factory=dict)


class Ask(Message, frozen=True):
    """A gateway hands a request on to the one that keeps its session; the arrays travel as a frame's do. Answered by one `Given`
    where it is to be answered `whole`, else by several, or by a `Failure` of the request `number`."""

    number: int
    model: str
    whole: bool
    version: str = ""
    outputs: tuple[str, ...] = ()
    id: str = ""
    session: str = ""
    start: bool = False
    end: bool = False
    timeout_s: float | None = None
    part_steps: int = 0
    tensors: tuple[Tensor, ...] = ()


class Given(Message, frozen=True):
    """The answer to an `Ask`, or a part of it; the arrays travel as a frame's do."""

    number: int
    model: str
    version: str
    id: str
    first_step: int = 0
    steps: int = 0
    last: bool = True
    tensors: tuple[Tensor, ...] = ()


class Want(Message, frozen=True):
    """A gateway's callers wait for a model of the store. Answered by `Direct`, to every gateway, or by `Unwanted`."""

    model: str


class Unwanted(Message, frozen=True):
    """The controller tells gateways why a model cannot be loaded; whoever waits for it is told the same."""

    model: str
    kind: str
    text: str
    retry_after_s: float = 1.0


class Use(msgspec.Struct, frozen=True, array_like=True):
    """How a gateway's callers use a model that was loaded on demand: whether they do, since how many seconds not, and for how long it
    is to stay after that, where somebody said; below zero for good."""

    model: str
    busy: bool
    idle_s: float
    keep_s: float | None = None


class Uses(Message, frozen=True):
    """A gateway tells how the models that were loaded on demand are used there."""

    models: tuple[Use, ...] = ()


class Rest(Message, frozen=True):
    """Serve the model no longer, if nobody has called it for `idle_s` seconds. Answered by `Done`, which tells `busy` where somebody
    has; it is served on then. A replica that is `closing` gets no new call, as long as there are others, and goes later."""

    model: str
    idle_s: float = 0.0
    closing: bool = False


class Pressure(Message, frozen=True):
    """A gateway tells how many calls of the models that scale by themselves it works on, those that wait included."""

    calls: dict[str, int] = msgspec.field(default_factory=dict)


class Tally(Message, frozen=True):
    """A gateway tells what it has counted of the names that answer by a rule."""

    counts: tuple[TrafficCount, ...] = ()


class Loaded(msgspec.Struct, frozen=True, array_like=True):
    """A model that was loaded on demand: what it takes, and when it is unloaded, if nobody calls it; None for never. In seconds since
    the epoch."""

    model: str
    bytes: int
    until_s: float | None = None


class Residents(Message, frozen=True):
    """The controller tells gateways which models were loaded on demand."""

    models: tuple[Loaded, ...] = ()


BUSY = "busy"
"""What a gateway answers to `Rest` where it does not."""

GatewayMessage = (
    Attend
    | Members
    | Direct
    | Withdraw
    | Traffic
    | Chained
    | Whole
    | Cut
    | Standing
    | Ask
    | Given
    | Want
    | Unwanted
    | Uses
    | Rest
    | Residents
    | Pressure
    | Tally
)
