"""How a deployment on this machine is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from synfire.base.errors import UserError
from synfire.base.settings import read_settings
from synfire.control.suspicion import Heartbeats
from synfire.wire.traffic import Rule
from synfire.worker.settings import Twice


@dataclass(frozen=True)
class StoreSettings:
    """How the models of the store are served: loaded when somebody calls them, unloaded when nobody does."""

    keep_alive_s: float = 300.0
    """How long a model stays after its last call, in seconds, where the call does not say; `math.inf` for good. As Ollama's."""

    memory_bytes: int | None = None
    """What they may take together, in bytes; None: as much as was free when the deployment began."""

    model_bytes: int | None = None
    """What one of them may take, in bytes; None: as much as all together."""

    most_models: int | None = None
    """How many may be loaded at a time; None: as many as memory holds."""

    parallel: int | None = None
    """How many answers each makes at a time, for which memory is set aside; None: as many as a model that is named."""

    def __post_init__(self) -> None:
        if self.parallel is not None and self.parallel < 1:
            raise UserError(f"parallel is {self.parallel}; a model makes 1 answer at a time or more")
        bounds = {"memory_bytes": self.memory_bytes, "model_bytes": self.model_bytes, "most_models": self.most_models}
        if self.keep_alive_s < 0 or any(each is not None and each < 1 for each in bounds.values()):
            told = ", ".join(f"{name} {each}" for name, each in bounds.items())
            raise UserError(
                f"keep_alive_s is {self.keep_alive_s}, {told}; the first is 0 or more, the others are above it"
            )


@dataclass(frozen=True)
class Settings:
    """How a local deployment is run."""

    ready_s: float = 60.0
    """How long a worker may take to be ready, in seconds. An import on a cold, busy machine takes some."""

    stop_s: float = 35.0
    """How long a worker may take to leave after SIGTERM before it is killed, in seconds: its own `drain_s` and some."""

    http: str = "127.0.0.1:0"
    """Where workers answer the Open Inference Protocol, `host:port`; empty: nowhere. Port 0 finds a free one."""

    heal: bool = True
    """Whether lost workers are replaced, and the calls that they held are replayed."""

    heartbeats: Heartbeats = field(default_factory=Heartbeats)
    """How workers beat, and when their silence is a failure."""

    prove_s: float = 10.0
    """How often stages whose workers are idle do their known-answer tests, in seconds. Each takes a millisecond or few."""

    check_states: bool = True
    """Whether workers look after states at rest, see `synfire.worker.membranes`."""

    twice: Twice = "devices"
    """What workers compute twice, and compare: stages on `devices`, everything, `always`, or nothing, `never`."""

    threads: int = 1
    """How many threads each worker computes with; see `synfire.worker.settings`. `synfire serve` shares the processor's cores."""

    most_flips: int = 3
    """After so many states that were found wrong within a minute a worker counts as corrupted. Particles come one by one, worn
    memory errs again and again."""

    spares: int = 0
    """How many warm workers without a stage are kept; they take over faster than a new one, which is started else."""

    memory_bytes: int | None = None
    """What each worker may hold, in bytes, as the planner counts it; None: as much as it likes."""

    most_workers: int | None = None
    """How many workers may run at a time, spares included; None: as many as are wanted. More than start would need."""

    priorities: Mapping[str, int] = field(default_factory=dict)
    """Models' priorities, 0 where none is given: when there is no room for all, those of the lowest are stopped first."""

    hosts: int = 0
    """On how many emulated hosts the workers are; 0: on this one. See `synfire.deploy.network`."""

    begins: bool = True
    """Whether it begins workers itself. Else all of them join: a model waits for as many as its plan has places."""

    join: str = ""
    """Where workers of other machines join, `host:port`; empty: nowhere. See `synfire.deploy.join`."""

    store: StoreSettings | None = None
    """How the models of the store are served, beside those that were named; None: not at all."""

    await_models_s: float = 0.0
    """For how long at the most somebody may take to say that all models are told, in seconds; 0: nobody does. Until then a name that nothing
    answers is no mistake of who calls it."""

    warm_ups: int = 1
    """How many requests are made to a whole model before it is called ready. The first one of an engine may take several times as
    long as the next; a second one finds no more to do."""

    traffic: tuple[Rule, ...] = ()
    """By which rules names answer when it begins; `synfire traffic` changes them."""

    prepare: bool = True
    """Whether spares build every stage beforehand, which costs them memory, and makes them take over in the time of a message."""

    def __post_init__(self) -> None:
        if self.most_flips < 1:
            raise UserError(f"most_flips is {self.most_flips}; after 1 or more a worker counts as corrupted")
        if not self.begins and not self.join:
            raise UserError(
                "begins is off, and join names no place: no worker could ever host anything; set one of them"
            )
        if not 0 <= self.await_models_s < 1e6:
            raise UserError(f"await_models_s is {self.await_models_s}; it is 0 s or more, and below 1e6 s")
        if self.warm_ups < 0:
            raise UserError(f"warm_ups is {self.warm_ups}; 0 or more requests are made to a model before it is ready")
        if self.threads < 1:
            raise UserError(f"threads is {self.threads}; a worker computes with 1 or more")
        if min(self.ready_s, self.stop_s, self.prove_s) <= 0:
            raise UserError(
                f"ready_s is {self.ready_s}, stop_s {self.stop_s} and prove_s {self.prove_s}; all are seconds above 0"
            )

    @property
    def of_workers(self) -> dict[str, Any]:
        """What workers are started with."""
        return {"check_states": self.check_states, "twice": self.twice, "threads": self.threads}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Settings:
        """Settings by name. Raises `UserError` for a name that is no setting."""
        return read_settings(cls, "deployment", values)
