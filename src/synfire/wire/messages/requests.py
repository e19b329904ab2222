"""A request on its way from stage to stage, and the state that a session keeps between its requests."""

from __future__ import annotations

from synfire.base.errors import OutOfReach
from synfire.wire.codec import Tensor
from synfire.wire.messages.message import Message


class Frame(Message, frozen=True):
    """Some time steps of one request on the way from stage `sender` to stage `receiver` of `model`.

    `number` counts the frames of this request on this link from 0, without a gap. Frame 0 also carries the signals on
    the request clock. `steps` is 0 where no signal on the step clock travels along the link. `origin` is the gateway
    that waits for the answer. With `alone`, the receiver's outputs return to the origin instead of going on. `pace` is
    how many steps a frame of this request holds, for stages that make its time steps; 0 leaves it to the plan. With a
    `token` every stage sends the origin a `Checkpoint` of that token when it is through with the request. Of each stage that has
    several replicas it goes through the one that its `lane` names; see `synfire.plan.replicas`.
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
    lane: tuple[int, ...] = ()


class Batch(Message, frozen=True):
    """Frames along one link, of requests that were computed together. Their arrays travel joined along the batch axis, `sizes`
    samples for each frame; that axis is the second one of the arrays that are `timed`, else the first. See `synfire.wire.batches`."""

    frames: tuple[Frame, ...]
    sizes: tuple[int, ...]
    timed: tuple[str, ...] = ()
    tensors: tuple[Tensor, ...] = ()


class Failure(Message, frozen=True):
    """The request is answered by an error, and its state at the reporting worker is gone.

    `unreachable` is the worker that the reporting one could not reach, if that is why.
    """

    request: str
    kind: str
    text: str
    retry_after_s: float = 1.0
    unreachable: OutOfReach | None = None


class Cancel(Message, frozen=True):
    """Nobody waits for the request any more: forget it, and refuse what still arrives for it."""

    request: str


class Advance(Message, frozen=True):
    """The origin has taken every output of the request before frame `number`: stages may run on from there."""

    request: str
    number: int


class Checkpoint(Message, frozen=True):
    """The session's state at a stage, after the request whose frames had the `token`; its arrays travel as a frame's do.

    `maker` is the stage's engine with the version of its states' layout, and its content digest: nobody else may go on
    from it. `checksum` is the state's, see `synfire.wire.checksums`, if it has one.
    """

    model: str
    stage: str
    session: str
    token: int
    tensors: tuple[Tensor, ...] = ()
    maker: str = ""
    checksum: int | None = None


class Restore(Message, frozen=True):
    """Go on with the session at a stage from the state that travels beside the message. Answered by `Restored`.

    `maker` and `checksum` are the checkpoint's.
    """

    model: str
    stage: str
    session: str
    batch: int
    tensors: tuple[Tensor, ...] = ()
    maker: str = ""
    checksum: int | None = None


class Restored(Message, frozen=True):
    """The answer to `Restore`; `kind` and `text` say why not, if so."""

    kind: str = ""
    text: str = ""


class Forget(Message, frozen=True):
    """Drop the session's state at every stage of the model."""

    model: str
    session: str


RequestMessage = Frame | Batch | Failure | Cancel | Advance | Checkpoint | Restore | Restored | Forget
