"""What a gateway keeps of sessions, so that a lost worker costs none: checkpoints of their state, and the calls since."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from synfire.base.errors import Overloaded, TemporaryError
from synfire.base.log import LOGGER
from synfire.gateway.call import Call
from synfire.ops import Array
from synfire.wire.checksums import checksum
from synfire.wire.messages import Checkpoint
from synfire.wire.stream import array_bytes

EVERY_CALLS = 16
"""A checkpoint is asked for with every so manieth call of a session: it bounds what is computed again after a loss."""

EVERY_S = 1.0
"""Or when the last one is so old, in seconds, whichever comes first."""

MOST_CALLS = 4 * EVERY_CALLS
"""Calls kept while no checkpoint arrives. Then the session's calls are refused: nobody could bring it back."""

_NOWHERE = -1


class Saved(NamedTuple):
    """What a stage's state was after some call, who has made it, and its checksum, if it has one."""

    state: Mapping[str, Array]
    maker: str
    checksum: int | None


@dataclass
class Track:
    """One session: the state of every stage after some call, and the calls that came after it.

    `epoch` is the route's in which the workers hold the session's state, or −1 when they may not.
    """

    name: str
    batch: int
    epoch: int = _NOWHERE
    states: Mapping[str, Saved] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    kept_s: float = 0.0
    used_s: float = 0.0
    asked: dict[int, tuple[int, dict[str, Saved]]] = field(default_factory=dict)
    seen: int = 0
    """How many calls were answered; `asked` says of each checkpoint after how many, and what has come of it."""

    replicas: Mapping[str, str] = field(default_factory=dict)
    """What the replica of each stage is called that it is at; and `stages` are those that its calls go through, all where none is named."""

    stages: frozenset[str] = frozenset()

    forsaken: str = ""
    """The stage that runs on another device now, which cannot take up the state that is kept of it; empty for none."""

    def check(self, call: Call) -> None:
        """Raise `TemporaryError` when the session cannot be brought back."""
        if self.forsaken:
            raise TemporaryError(
                f"session {self.name!r} of model {call.model!r} cannot go on: stage {self.forsaken} has moved to another device, "
                "which cannot take up its state; begin it again with sequence_start=true"
            )

    def lost(self) -> None:
        """The workers may not hold the state any more."""
        self.epoch = _NOWHERE
        self.asked.clear()


class Protection:
    """The sessions of one route. `stages` are the names of its plan's stages.

    `checkpoints` counts those that came whole, and `checkpoint_bytes` all states that came, also those that were of no use.
    """

    def __init__(self, stages: Iterable[str], idle_s: float = 600.0) -> None:
        self._stages = frozenset(stages)
        self._idle_s = idle_s
        self._tracks: dict[str, Track] = {}
        self._tokens = itertools.count(1)
        self.checkpoints = 0
        self.checkpoint_bytes = 0

    def __len__(self) -> int:
        return len(self._tracks)

    @property
    def held_bytes(self) -> int:
        """What is held of all sessions: their newest states, and the inputs of the calls since."""
        held = [saved.state for track in self._tracks.values() for saved in track.states.values()]
        held += [call.inputs for track in self._tracks.values() for call in track.calls]
        return sum(array_bytes(arrays.values()) for arrays in held)

    def begin(self, call: Call, batch: int, now_s: float) -> Track | None:
        """The track of the call's session, which has `batch` samples; None for a session that is not known, and so cannot be brought back.

        Raises `Overloaded` when no checkpoint of it has come for too long.
        """
        if call.start:
            self._sweep(now_s)
            before = self._tracks.get(call.session)  # what is left of it is where it was
            replicas = before.replicas if before is not None else {}
            self._tracks[call.session] = Track(call.session, batch, kept_s=now_s, replicas=replicas)
        track = self._tracks.get(call.session)
        if track is None:
            return None
        track.used_s = now_s
        if len(track.calls) >= MOST_CALLS:
            raise Overloaded(
                f"session {call.session!r} of model {call.model!r} has had no checkpoint for {len(track.calls)} calls; try again"
            )
        return track

    def token(self, track: Track, call: Call, now_s: float, stages: Iterable[str] = ()) -> int:
        """The number under which the call's frames ask every one of these stages for its state afterwards; 0 for no checkpoint now."""
        track.stages = frozenset(stages)
        due = len(track.calls) + 1 >= EVERY_CALLS or now_s - track.kept_s >= EVERY_S
        if call.end or not due:
            return 0
        token = next(self._tokens)
        track.asked[token] = (track.seen + 1, {})
        return token

    def answered(self, track: Track, call: Call) -> None:
        """The call is through: its last part is here."""
        if call.end:
            self._tracks.pop(track.name, None)
            return
        track.calls.append(call)
        track.seen += 1
        if track.asked:
            self._settle(track, track.kept_s)

    def drop(self, track: Track) -> None:
        """The session is broken: a call of it failed for a reason that no replay mends."""
        if self._tracks.get(track.name) is track:
            del self._tracks[track.name]

    def __contains__(self, session: str) -> bool:
        return session in self._tracks

    def give(self, session: str) -> Track | None:
        """Let go of a session, with all that is kept of it, for another route; None where nothing is."""
        return self._tracks.pop(session, None)

    def take(self, track: Track, unlike: str = "") -> None:
        """Keep a session from now on that another route has given. What is `unlike` there runs on another device than here."""
        track.lost()
        if unlike and track.states:
            track.forsaken = track.forsaken or unlike
        self._tracks[track.name] = track

    def lose(self, stages: Iterable[str]) -> int:
        """The workers are others from now on, and these are the stages; how many sessions have to be brought back."""
        self._stages = frozenset(stages)
        for track in self._tracks.values():
            track.lost()
        return len(self._tracks)

    def forsake(self, stages: Iterable[str]) -> None:
        """These stages run on other devices now. Sessions are computed again there from their beginning; those that go on from
        a checkpoint cannot."""
        for stage in stages:
            for track in self._tracks.values():
                track.forsaken = track.forsaken or (stage if track.states else "")

    def receive(self, message: Checkpoint, arrays: Mapping[str, Array], now_s: float) -> None:
        """A stage has sent its state. One of a checkpoint that nobody asked for, or not any more, is dropped; and so is a
        damaged one: the checkpoint before it stays, and the next call asks again."""
        track = self._tracks.get(message.session)
        if track is None or message.token not in track.asked:
            return
        if message.checksum is not None and checksum(arrays) != message.checksum:
            LOGGER.warning("session %s: a checkpoint of stage %s came damaged", message.session, message.stage)
            del track.asked[message.token]
            return
        self.checkpoint_bytes += array_bytes(arrays.values())
        track.asked[message.token][1][message.stage] = Saved(arrays, message.maker, message.checksum)
        self._settle(track, now_s)

    def _settle(self, track: Track, now_s: float) -> None:
        """Go over to the newest checkpoint that is complete, and whose call is through."""
        for token, (after, states) in sorted(track.asked.items(), reverse=True):
            if states.keys() >= (track.stages or self._stages) and after <= track.seen:
                del track.calls[: len(track.calls) - (track.seen - after)]
                track.states, track.kept_s = states, now_s
                self.checkpoints += 1
                for older in [each for each in track.asked if each <= token]:
                    del track.asked[older]
                return

    def _sweep(self, now_s: float) -> None:
        """Workers forget an idle session after as long."""
        for name in [name for name, track in self._tracks.items() if now_s - track.used_s > self._idle_s]:
            del self._tracks[name]
