"""What is kept of a recovery: one record each, in the catalog, from which `synfire events` and others read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import msgspec

from synfire.base.errors import Bug, PermanentError
from synfire.control.apply import STEPS
from synfire.control.state import Recovery
from synfire.store import Catalog

_AFTER = {
    "detect": (),
    "fence": ("detect",),
    "adopt": ("fence",),
    "restore": ("adopt", "relink"),
    "relink": ("fence",),
    "replay": ("adopt", "relink", "restore"),
    "verify": ("adopt",),
}
"""Which steps must have ended before one begins. Adopting and relinking go on at the same time, and what was adopted is
verified before anything is replayed: no wrong answer shall leave."""

KIND = "recovery"
"""The catalog's journal that holds recovery records."""

Outcome = Literal["recovered", "degraded", "failed"]
"""`recovered`: everything is served as before. `degraded`: some of it is no longer served, or by an unlike device.
`failed`: none of what was hit is served."""


class Cause(msgspec.Struct, frozen=True):
    """What went wrong: the `kind` (exit, link, hang, corruption, …), with whom, and what is known about it in words."""

    kind: str
    target: str
    detail: str = ""


class Touched(msgspec.Struct, frozen=True):
    """A model that the failure hit, and the epoch of its route before and after."""

    model: str
    epoch_before: int
    epoch_after: int


class Step(msgspec.Struct, frozen=True):
    """One of the seven `STEPS`: when it began, in seconds since 1970, and how long it took."""

    name: str
    began_s: float
    duration_s: float

    def __post_init__(self) -> None:
        if self.name not in STEPS:
            raise Bug(f"a recovery has no step {self.name!r}; its steps are {', '.join(STEPS)}")
        if not (math.isfinite(self.began_s) and math.isfinite(self.duration_s) and self.duration_s >= 0):
            raise Bug(f"step {self.name} is said to begin at {self.began_s} s and to take {self.duration_s} s")


class RecoveryRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A failure and what was done about it.

    `id` is given once in a catalog's life, also over restarts. `worker` is who was lost; `spare` who took over, empty
    where nobody did. Steps that were not needed are absent; the others stand in the order of `STEPS` and may overlap.
    `reason` says in words why a recovery that is not `recovered` came out so. Raises `Bug` for a record that contradicts
    itself.
    """

    id: str
    cause: Cause
    models: tuple[Touched, ...]
    worker: str
    spare: str = ""
    steps: tuple[Step, ...]
    requests_replayed: int = 0
    sessions_restored: int = 0
    bytes_moved: int = 0
    outcome: Outcome
    reason: str = ""

    def __post_init__(self) -> None:
        order = [STEPS.index(step.name) for step in self.steps]
        if not order or order != sorted(set(order)):
            names = [step.name for step in self.steps]
            raise Bug(f"recovery {self.id} has the steps {names}; write down one or more, each once, in their order")
        if self.outcome != "recovered" and not self.reason:
            raise Bug(f"recovery {self.id} is {self.outcome} for no reason; say why in words")

    @property
    def began_s(self) -> float:
        """When the first step began, in seconds since 1970."""
        return min(step.began_s for step in self.steps)

    @property
    def duration_s(self) -> float:
        """From the first step's begin to the last one's end."""
        return max(step.began_s + step.duration_s for step in self.steps) - self.began_s


class RecoveryLog:
    """The recovery records in a catalog, that of SYNFIRE_HOME unless another is given. Safe for several processes."""

    def __init__(self, catalog: Catalog | None = None) -> None:
        self._catalog = catalog or Catalog()

    def append(self, record: RecoveryRecord) -> None:
        """Keep the record; the same one again changes nothing. Raises `Bug` for an id that another one has."""
        self._catalog.append(KIND, record.id, msgspec.json.encode(record).decode())

    def recent(self, count: int) -> tuple[RecoveryRecord, ...]:
        """The newest records, at most `count`, the newest last. Raises `PermanentError` for one that cannot be read."""
        if not self._catalog.path.exists():  # a look must not leave a catalog behind
            return ()
        return tuple(self._read(content) for content in self._catalog.recent(KIND, count))

    def _read(self, content: str) -> RecoveryRecord:
        try:
            return msgspec.json.decode(content, type=RecoveryRecord)
        except (msgspec.MsgspecError, Bug) as error:
            raise PermanentError(
                f"a recovery record in {self._catalog.path} cannot be read ({error}); it is damaged, or of another version "
                "of synfire: use that one, or move the file away"
            ) from error


def record_of(recovery: Recovery, deployment: str, began_1970_s: float) -> RecoveryRecord:
    """What is kept of a finished recovery; `began_1970_s` is when it began, in seconds since 1970."""
    shift_s = began_1970_s - recovery.began_s
    failed = len(recovery.failures)
    outcome: Outcome = "recovered" if not failed else "failed" if failed == len(recovery.models) else "degraded"
    return RecoveryRecord(
        id=f"{deployment}-{recovery.id}",
        cause=Cause(recovery.cause, recovery.lost),
        models=tuple(
            Touched(model, epoch - 1, epoch) for model, epoch in zip(recovery.models, recovery.epochs, strict=True)
        ),
        worker=recovery.lost,
        spare=recovery.spare,
        steps=tuple(
            Step(name, begin_s + shift_s, end_s - begin_s)
            for name, begin_s, end_s in _spans(recovery)
            if end_s >= begin_s
        ),
        requests_replayed=recovery.replayed,
        sessions_restored=recovery.restored,
        outcome=outcome,
        reason="; ".join(recovery.failures),
    )


def _spans(recovery: Recovery) -> Iterator[tuple[str, float, float]]:
    """Each step that was taken, with its begin and end: a step begins when those that it waits for have ended."""
    ended = recovery.ended_s
    for name in STEPS:
        if name in ended:
            before = (ended[each] for each in _AFTER[name] if each in ended)
            yield name, max(before, default=recovery.began_s), ended[name]
