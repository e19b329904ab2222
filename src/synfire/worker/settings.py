"""What a worker may use: every setting with its meaning, unit, and the reason for its default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from synfire.base.errors import UserError
from synfire.base.settings import read_settings
from synfire.wire.links import Limits

Twice = Literal["never", "devices", "always"]


@dataclass(frozen=True)
class Settings:
    """Limits and waits of one worker."""

    max_requests: int = 1024
    """Requests held at once; one more is refused as overloaded. The gateway admits fewer, so this is the second fence."""

    max_batch: int = 64
    """Samples computed together when several requests wait at a stage. Beyond it caches overflow and latency grows."""

    batch_wait_s: float = 0.0
    """How long a request's first frame may wait for company, in seconds. 0 takes whoever is there already and so
    never delays anybody; a wait pays only where a batch is much cheaper than its samples one by one."""

    inbox_bytes: int = 1 << 30
    """Arrays that wait for their stage, in bytes; a frame beyond it fails its request. 1 GiB leaves room for parameters
    on a small machine."""

    parameter_bytes: int = 1 << 33
    """Parameters of all hosted stages together, in bytes; a stage beyond it is refused. 8 GiB suits a small host."""

    session_idle_s: float = 600.0
    """A session unused for this long is forgotten, in seconds. Ten minutes outlast a pause between two utterances."""

    request_idle_s: float = 300.0
    """A request for which nothing arrived or was computed for this long is failed, in seconds. A gateway's deadline or
    its broken link comes first; this one catches a gateway that is neither dead nor alive."""

    stuck_s: float = 60.0
    """A job that runs for this long ends the worker's heartbeats, in seconds, and so the worker. Longer than any honest job."""

    max_sessions: int = 4096
    """Sessions kept at once by a stage; one more is refused as overloaded. Their states are memory."""

    drain_s: float = 30.0
    """How long SIGTERM lets accepted requests finish, in seconds. Container platforms kill after 30 s."""

    kept_bytes: int = 1 << 34
    """What a machine keeps of weights that were sent to it, in bytes, under SYNFIRE_CACHE; what was used the longest ago goes first. 16 GiB
    hold the weights of some large models, and are found on most disks."""

    check_states: bool = True
    """Whether states get checksums where they lie between two frames or calls. That takes microseconds, and finds flipped bits."""

    twice: Twice = "devices"
    """Which stages compute everything twice, and compare: those on `devices`, where a bit may flip in what runs and nothing tells;
    all, `always`; or `never`. It takes twice the computing."""

    threads: int = 1
    """Threads that compute, the one that reads and writes packets among them. More of them than processors are free for the worker
    only take these from others."""

    max_frame_bytes: int = Limits.max_frame_bytes
    """The largest packet, in bytes; see `synfire.wire.links.Limits`."""

    queue_bytes: int = Limits.queue_bytes
    """What may wait to be sent to one peer, in bytes, before no further job is begun; see `synfire.wire.links.Limits`."""

    def __post_init__(self) -> None:
        if self.twice not in get_args(Twice):
            raise UserError(f"worker setting twice is {self.twice!r}; it takes one of {', '.join(get_args(Twice))}")
        if not isinstance(self.check_states, bool):
            raise UserError(f"worker setting check_states is {self.check_states!r}; it takes true or false")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("twice", "check_states"):
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
                raise UserError(f"worker setting {field.name} is {value!r}; it takes a number, 0 or more")
            if field.name == "threads" and not isinstance(value, int):
                raise UserError(f"worker setting threads is {value!r}; it takes a whole number, 1 or more")
            if value == 0 and field.name not in ("batch_wait_s", "parameter_bytes"):
                raise UserError(f"worker setting {field.name} is 0, so nothing could run; set it above 0")
        Limits(self.max_frame_bytes, self.queue_bytes)  # refuses what no link can keep to

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Settings:
        """Settings by name. Raises `UserError` for a name that is no setting."""
        return read_settings(cls, "worker", values)

    @property
    def links(self) -> Limits:
        return Limits(self.max_frame_bytes, self.queue_bytes)
