"""How a worker comes to host stages, proves them, links them anew and drops them."""

from __future__ import annotations

import msgspec

from synfire.wire.messages.message import Message


class Arrival(msgspec.Struct, frozen=True, array_like=True):
    """A link into a stage: the signals `sources` that stage `sender` (or the gateway) sends.

    Where the sender is one of several replicas, those requests come along it whose lane has the number `replica` at its `place`; see
    `synfire.plan.replicas`.
    """

    sender: str
    sources: tuple[str, ...]
    place: int = -1
    replica: int = 0


class Departure(msgspec.Struct, frozen=True, array_like=True):
    """A link out of a stage. `address` is that of the receiver's worker, empty on the same worker and for the gateway. Where the receiver
    is one of several replicas, those requests take it whose lane has the number `replica` at its `place`."""

    receiver: str
    sources: tuple[str, ...]
    address: str = ""
    place: int = -1
    replica: int = 0


def taken(link: Arrival | Departure, lane: tuple[int, ...]) -> bool:
    """Whether requests of a lane take the link. One that is of no lane takes the first replicas."""
    return link.place < 0 or link.replica == (lane[link.place] if link.place < len(lane) else 0)


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


class Keep(Message, frozen=True):
    """Keep a blob for stages to come: the bytes beside the message are those from `offset` on, of `size` in all. Answered by `Keeping`. Of a
    `file` it is enough that the receiver has it somewhere."""

    digest: str
    size: int
    offset: int = 0
    file: bool = False


class Keeping(Message, frozen=True):
    """The answer to `Keep`: the first `have` bytes of the blob are here; or `kind` and `text` say why it cannot be kept."""

    digest: str
    have: int = 0
    kind: str = ""
    text: str = ""


class Relink(Message, frozen=True):
    """Take stages of the model that are hosted here into `epoch`, with new links into and out of each, by stage name: where they lead,
    and how others call themselves that were split, may have changed.

    Requests of older epochs at these stages are dropped in silence: their origins replay them. Answered by `Relinked`.
    """

    model: str
    epoch: int
    stages: tuple[tuple[str, tuple[Arrival, ...], tuple[Departure, ...]], ...]


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


StageMessage = Host | Hosted | Prove | Proved | Keep | Keeping | Prepare | Prepared | Relink | Relinked | Unhost
