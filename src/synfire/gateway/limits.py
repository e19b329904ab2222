"""What the gateway takes on, and when it says no."""

from __future__ import annotations

import msgspec

from synfire.base.errors import UserError
from synfire.graph import Graph


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds of one gateway. Counts are per model unless said otherwise.

    Every bound is finite, so that no caller can take memory or time without end; an error that a bound causes names it.
    """

    body_bytes: int = 64 * 2**20
    """Longest request, as HTTP body, after decompression, or as gRPC message: 64 MiB hold a second of raw events."""
    body_timeout_s: float = 30.0
    """How long a caller may take to send its body, or to read a part of a streamed answer; then it is cut off."""
    batch: int = 256
    """Samples per request: more gain no throughput, and make others wait."""
    steps: int = 16384
    """Time steps that one request may bring."""
    in_flight: int = 64
    """Calls that a route works on at a time: enough to fill its pipeline."""
    queued: int = 512
    """Calls that wait beyond those; the next one is refused at once, which serves it better than a long wait."""
    sessions: int = 4096
    """Named sessions that are kept at a time."""
    session_idle_s: float = 600.0
    """After this long without a call a session is closed; workers forget its state then, too."""
    timeout_s: float = 60.0
    """Time for a call that names no deadline of its own; also the longest that it may name."""
    open_ended_timeout_s: float = 600.0
    """The same for calls of models that find out themselves how long their answer gets: a language model on a processor may take a
    second for ten words."""
    load_timeout_s: float = 300.0
    """How long a call may wait for a model of the store to be loaded: gigabytes from a slow disk take minutes."""
    retry_after_s: float = 1.0
    """What a refused caller is told to wait."""

    def samples(self, graph: Graph) -> int:
        """Samples per request of a model, which may say itself that it takes fewer than `batch`."""
        return min(self.batch, int(graph.metadata.get("most_samples", self.batch)))

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value < 0 or (value == 0 and name not in ("queued", "sessions")):
                raise UserError(f"limit {name} is {value}; it must be positive")
