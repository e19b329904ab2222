"""What is told of a recovery, by controllers to gateways and to whoever asks these: one record each."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from synfire.base.errors import Bug

STEPS = ("detect", "fence", "adopt", "restore", "relink", "replay", "verify")
"""The life of a failure, in order."""

Outcome = Literal["recovered", "moved", "degraded", "failed"]
"""`recovered`: everything is served as before. `moved`: it is, and nothing had failed: somebody asked for the move.
`degraded`: some of it is no longer served, or by an unlike device. `failed`: none of what was hit is served."""


class Cause(msgspec.Struct, frozen=True):
    """What went wrong: the `kind` (exit, link, hang, corruption, …), with whom, and what is known about it in words."""

    kind: str
    target: str
    detail: str = ""

    def __str__(self) -> str:
        """What happened to whom, in words."""
        return f"{self.kind}{': ' if self.kind.endswith(('lost', 'dead')) else ' of '}{self.target}"


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


class Moved(msgspec.Struct, frozen=True):
    """A stage that was moved because somebody asked for it, from worker `source` to worker `target`. Without the one there is a replica of it
    more, without the other one less."""

    model: str
    stage: str
    source: str
    target: str


class Substituted(msgspec.Struct, frozen=True):
    """A stage that `engine` runs now in place of the `planned` one, because no worker has the device for that.

    `agreement` is the share of spikes in which the two agree over the stage's known answer; None where it was not measured.
    """

    model: str
    stage: str
    planned: str
    engine: str
    agreement: float | None = None

    def __str__(self) -> str:
        """What runs where in place of what, and how far the two agree, in words."""
        agree = "" if self.agreement is None else f", whose spikes agree to {100 * self.agreement:.4g} %"
        return f"{self.model}.{self.stage} runs on {self.engine} in place of {self.planned}{agree}"


class RecoveryRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A failure and what was done about it.

    `id` is given once in a catalog's life, also over restarts. `worker` is who was lost, or the gateway or controller that
    was; `spare` the worker that took over, empty where none did. Steps that were not needed are absent; the others stand in the order of `STEPS` and may overlap.
    `moved` and `substituted` say which stages went where as planned, and which are run by an unlike engine. `reason` says in
    words why a recovery is `degraded` or `failed`. Raises `Bug` for a record that contradicts itself.
    """

    id: str
    deployment: str = ""
    """Whose recovery it is, as `synfire ps` names it; empty in records of older versions."""
    cause: Cause
    models: tuple[Touched, ...]
    worker: str
    spare: str = ""
    steps: tuple[Step, ...]
    requests_replayed: int = 0
    sessions_restored: int = 0
    """Sessions that go on from their checkpoints. The step `restore` is the time in which the gateways see to that; the state
    itself is sent with each session's next call, after the recovery, and `synfire_sessions_restored_total` counts those."""
    bytes_moved: int = 0
    outcome: Outcome
    reason: str = ""
    moved: tuple[Moved, ...] = ()
    substituted: tuple[Substituted, ...] = ()

    def __post_init__(self) -> None:
        order = [STEPS.index(step.name) for step in self.steps]
        if not order or order != sorted(set(order)):
            names = [step.name for step in self.steps]
            raise Bug(f"recovery {self.id} has the steps {names}; write down one or more, each once, in their order")
        if self.outcome in ("degraded", "failed") and not self.reason:
            raise Bug(f"recovery {self.id} is {self.outcome} for no reason; say why in words")

    @property
    def began_s(self) -> float:
        """When the first step began, in seconds since 1970."""
        return min(step.began_s for step in self.steps)

    @property
    def duration_s(self) -> float:
        """From the first step's begin to the last one's end."""
        return max(step.began_s + step.duration_s for step in self.steps) - self.began_s
