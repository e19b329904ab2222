"""What gateways, workers and controllers say to each other: typed, frozen, versioned.

A connection opens with `Hello` from both sides. Then a gateway sends frames to the stages that take a model's inputs,
workers pass frames on, and the stages that give outputs send theirs back to the gateway that the request came from.
Every frame says where it stands: its request, the stages at both ends, its number on that link, the time steps it
carries, and the epoch of the route. A change that an older peer would misread raises `PROTOCOL`.
"""

from __future__ import annotations

import msgspec

from synfire.base.errors import (
    Bug,
    DeadlineExceeded,
    Interrupted,
    Overloaded,
    PermanentError,
    SynfireError,
    TemporaryError,
    UnknownName,
    UserError,
)
from synfire.plan.plan import Plan
from synfire.wire.codec import Tensor

PROTOCOL = 1
"""The version of messages and layout. Peers of another version are refused."""


class Message(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The root of all messages."""


class Hello(Message, frozen=True):
    """The first message of both sides. `deployment` keeps strangers apart, `who` is unique within it.

    A `gateway` sends requests of its own and waits for their answers; a worker only passes frames on.
    """

    protocol: int
    deployment: str
    who: str
    gateway: bool = False


class Frame(Message, frozen=True):
    """Some time steps of one request on the way from stage `sender` to stage `receiver` of `model`.

    `number` counts the frames of this request on this link from 0, without a gap. Frame 0 also carries the signals on
    the request clock. `steps` is 0 where no signal on the step clock travels along the link. `origin` is the gateway
    that waits for the answer. With `alone`, the receiver's outputs return to the origin instead of going on. `pace` is
    how many steps a frame of this request holds, for stages that make its time steps; 0 leaves it to the plan. With a
    `token` every stage sends the origin a `Checkpoint` of that token when it is through with the request.
    """

    model: str
    sender: str
    receiver: str
    request: str
    origin: str
    number: int
    first_step: int = 0
    steps: int = 0
    last: bool = True
    session: str = ""
    start: bool = False
    end: bool = False
    epoch: int = 0
    alone: bool = False
    tensors: tuple[Tensor, ...] = ()
    pace: int = 0
    token: int = 0


class Checkpoint(Message, frozen=True):
    """The session's state at a stage, after the request whose frames had the `token`; its arrays travel as a frame's do.

    `maker` is the stage's engine with its content digest: nobody else may go on from it.
    """

    model: str
    stage: str
    session: str
    token: int
    tensors: tuple[Tensor, ...] = ()
    maker: str = ""


class Restore(Message, frozen=True):
    """Go on with the session at a stage from the state that travels beside the message. Answered by `Restored`.

    `maker` is the checkpoint's.
    """

    model: str
    stage: str
    session: str
    batch: int
    tensors: tuple[Tensor, ...] = ()
    maker: str = ""


class Restored(Message, frozen=True):
    """The answer to `Restore`; `kind` and `text` say why not, if so."""

    kind: str = ""
    text: str = ""


class Failure(Message, frozen=True):
    """The request is answered by an error, and its state at the reporting worker is gone.

    `unreachable` is the address of a worker that the reporting one could not reach, if that is why.
    """

    request: str
    kind: str
    text: str
    retry_after_s: float = 1.0
    unreachable: str = ""


class Cancel(Message, frozen=True):
    """Nobody waits for the request any more: forget it, and refuse what still arrives for it."""

    request: str


class Forget(Message, frozen=True):
    """Drop the session's state at every stage of the model."""

    model: str
    session: str


class Advance(Message, frozen=True):
    """The origin has taken every output of the request before frame `number`: stages may run on from there."""

    request: str
    number: int


class Arrival(msgspec.Struct, frozen=True, array_like=True):
    """A link into a stage: the signals `sources` that stage `sender` (or the gateway) sends."""

    sender: str
    sources: tuple[str, ...]


class Departure(msgspec.Struct, frozen=True, array_like=True):
    """A link out of a stage. `address` is that of the receiver's worker, empty on the same worker and for the gateway."""

    receiver: str
    sources: tuple[str, ...]
    address: str = ""


class Host(Message, frozen=True):
    """Build and host a stage. The graph travels beside the message, or lies in the bundle folder `bundle`.

    From a bundle the stage takes `operators` of the flat graph; `digest` is the stage graph's content digest and is
    compared. `steps` is the number of time steps of a request where the graph's encoders set it; `window` is how many
    frames a request may be ahead of its answer. With `url` the stage is the foreign Open Inference Protocol service there, and the
    graph only says what goes in and out. With `compare`, an engine that is not exact is compared with the processor's.
    """

    model: str
    stage: str
    engine: str
    frame_steps: int
    arrivals: tuple[Arrival, ...]
    departures: tuple[Departure, ...]
    steps: int | None = None
    window: int = 16
    epoch: int = 0
    digest: str = ""
    bundle: str = ""
    operators: tuple[str, ...] = ()
    url: str = ""
    compare: bool = False


class Hosted(Message, frozen=True):
    """The answer to `Host`: the stage is ready after `build_s`, or `kind` and `text` say why not.

    `answer` is what the stage gives in its known-answer test, which took `proof_s`; see `synfire.engines.known_answer`.
    `agreement` is how far the spikes of an engine that is not exact agree with the processor's, where that was asked; see
    `synfire.engines.agreement`.
    """

    model: str
    stage: str
    kind: str = ""
    text: str = ""
    build_s: float = 0.0
    answer: str = ""
    proof_s: float = 0.0
    agreement: float | None = None


class Prove(Message, frozen=True):
    """Do the known-answer test of a stage, between two jobs. Answered by `Proved`."""

    model: str
    stage: str


class Proved(Message, frozen=True):
    """The answer to `Prove`; empty for a stage that has no such test, or is not here."""

    model: str
    stage: str
    answer: str


class Prepare(Message, frozen=True):
    """Build the stage whose graph travels beside the message and keep it, so that a later `Host` of the same digest is
    hosted at once. Answered by `Prepared`."""

    engine: str
    digest: str


class Prepared(Message, frozen=True):
    """The answer to `Prepare`: built in `build_s`, or `kind` and `text` say why not."""

    digest: str
    kind: str = ""
    text: str = ""
    build_s: float = 0.0


class Relink(Message, frozen=True):
    """Take stages of the model that are hosted here into `epoch`, with new links out of each, by stage name.

    Requests of older epochs at these stages are dropped in silence: their origins replay them. Answered by `Relinked`.
    """

    model: str
    epoch: int
    stages: tuple[tuple[str, tuple[Departure, ...]], ...]


class Relinked(Message, frozen=True):
    """The answer to `Relink`; `kind` and `text` say why not, if so."""

    model: str
    epoch: int
    kind: str = ""
    text: str = ""


class Unhost(Message, frozen=True):
    """Drop the named stages of the model, all where none is named; their requests in flight are answered by a failure."""

    model: str
    stages: tuple[str, ...] = ()


class Draining(Message, frozen=True):
    """The worker will leave: send it no new request, and say `Drained` when those in flight are answered."""

    who: str


class Drained(Message, frozen=True):
    """The sender has no request in flight at the receiver, and will send none."""


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
    """What left a stage along one link so far. `encoded_bytes` is 0 inside a worker, where nothing is encoded."""

    receiver: str
    frames: int
    encoded_bytes: int
    array_bytes: int


class StageCount(msgspec.Struct, frozen=True, array_like=True):
    """What a stage did so far: `jobs` ran `samples · steps` in `busy_s` seconds. It is in `epoch` now."""

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


class Description(Message, frozen=True):
    """What a worker hosts, and what it did so far. `url` is where it answers HTTP itself; empty where it does not."""

    who: str
    pid: int
    requests: int
    sessions: int
    buffered_bytes: int
    stages: tuple[StageCount, ...]
    url: str = ""


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
    """Break something of the emulated device that a stage runs on: see `synfire.devices.mending.FaultOrder`.

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

    `replayed` is how many requests were interrupted and computed again. See `synfire.devices.mending.Mending` for the rest.
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


class StageLost(Message, frozen=True):
    """The device under a stage is lost since `ago_s` seconds, and this worker cannot host the stage any more."""

    model: str
    stage: str
    cause: str
    target: str
    reason: str
    ago_s: float


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
    blob `digest` of the deployment's store. Told again it changes nothing.
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


class Withdraw(Message, frozen=True):
    """Serve the model no longer. Answered by `Done`."""

    model: str


class Whole(Message, frozen=True):
    """The controller has told everything: the gateway serves these models, and no other. Answered by `Done`."""

    models: tuple[str, ...]


class Cut(Message, frozen=True):
    """A gateway has lost its connection to a worker."""

    worker: str


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


class Load(Message, frozen=True):
    """Serve the model whose flat graph is the blob `digest` of the deployment's store, along `plan`. Answered by `Done`.

    `source` says where it comes from, in words; `services` are the URLs of foreign services, by stage.
    """

    model: str
    version: str
    source: str
    digest: str
    plan: Plan
    services: dict[str, str] = {}


class Unload(Message, frozen=True):
    """Serve the model no longer, and drop its stages. Answered by `Done`."""

    model: str


class Reload(Message, frozen=True):
    """Serve a model again that was unloaded. Answered by `Done`."""

    model: str


class Move(Message, frozen=True):
    """Carry out a planned move of that `kind` (see `synfire.control.order`), of a worker where it concerns one. Answered by `Done`."""

    kind: str
    worker: str = ""


class Done(Message, frozen=True):
    """What was asked for is done, and `replayed` calls began again for it, and `restored` sessions will; or `kind` and `text` say
    why not. `told` is what was done, in words, where there is something to say."""

    kind: str = ""
    text: str = ""
    replayed: int = 0
    restored: int = 0
    told: str = ""


class Standing(Message, frozen=True):
    """The controller's news: the plans that calls follow, the workers' emulated hosts, ready spares, and recoveries by cause
    and outcome. `warm` says whether all is calm, and every spare prepared."""

    plans: tuple[Plan, ...] = ()
    sources: dict[str, str] = {}
    hosts: dict[str, str] = {}
    spares: int = 0
    spares_wanted: int = 0
    recoveries: tuple[tuple[str, str, int], ...] = ()
    warm: bool = False


class Spawn(Message, frozen=True):
    """The controller wants a worker to be started, to listen at `address`; `inside` is what its command line begins with.

    Answered by `Spawned`; one that runs already is not started again.
    """

    name: str
    address: str
    http: str = ""
    settings: bytes = b"{}"
    inside: tuple[str, ...] = ()
    device: str = ""


class Spawned(Message, frozen=True):
    """The supervisor tells that a worker is ready; or `kind` and `text` say why it could not be started."""

    name: str
    pid: int = 0
    addresses: tuple[str, ...] = ()
    url: str = ""
    kind: str = ""
    text: str = ""


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


AnyMessage = (
    Hello
    | Frame
    | Checkpoint
    | Restore
    | Restored
    | Failure
    | Cancel
    | Forget
    | Advance
    | Host
    | Hosted
    | Prove
    | Proved
    | Prepare
    | Prepared
    | Relink
    | Relinked
    | Unhost
    | Draining
    | Drained
    | Ping
    | Pong
    | Pulse
    | Beat
    | Describe
    | Description
    | Impair
    | Impaired
    | Inject
    | Injected
    | StageMended
    | StageLost
    | Attend
    | Members
    | Direct
    | Withdraw
    | Whole
    | Cut
    | Ask
    | Given
    | Load
    | Unload
    | Reload
    | Move
    | Done
    | Standing
    | Spawn
    | Spawned
    | Crew
    | Signal
    | Exited
)

_ERRORS: dict[str, type[SynfireError]] = {
    kind.__name__: kind
    for kind in (UserError, UnknownName, TemporaryError, Overloaded, Interrupted, DeadlineExceeded, PermanentError, Bug)
}


def failure_of(request: str, error: BaseException) -> Failure:
    """The message that carries `error` to another process; what is no `SynfireError` arrives as a `Bug`."""
    kind, text = error_words(error)
    return Failure(request, kind, text, getattr(error, "retry_after_s", 1.0), getattr(error, "unreachable", ""))


def error_words(error: BaseException) -> tuple[str, str]:
    """The error's kind, as an error of `synfire.base.errors`, and its text."""
    for each in type(error).__mro__:
        if each.__name__ in _ERRORS:
            return each.__name__, str(error)
    return Bug.__name__, f"{type(error).__name__}: {error}; please report this with the model that caused it"


def error_of(
    failure: Done | Failure | Hosted | Impaired | Injected | Prepared | Relinked | Restored | Spawned,
) -> SynfireError:
    """The error again, of the class that it had."""
    kind = _ERRORS.get(failure.kind, Bug)
    if issubclass(kind, Interrupted):
        return kind(failure.text, getattr(failure, "retry_after_s", 1.0), getattr(failure, "unreachable", ""))
    if issubclass(kind, TemporaryError):
        return kind(failure.text, getattr(failure, "retry_after_s", 1.0))
    return kind(failure.text)


def check_hello(message: object, deployment: str) -> Hello:
    """The peer's greeting. Raises `UserError` when it is none, or of another protocol version or deployment."""
    if not isinstance(message, Hello):
        raise UserError(f"the peer's first message is {type(message).__name__}, not Hello; is it a synfire process?")
    if message.protocol != PROTOCOL:
        raise UserError(
            f"{message.who} speaks wire protocol {message.protocol}, this process speaks {PROTOCOL}; install the same "
            "version of synfire on both sides"
        )
    if message.deployment != deployment:
        raise UserError(
            f"{message.who} belongs to deployment {message.deployment!r}, this process to {deployment!r}; check the address"
        )
    return message
