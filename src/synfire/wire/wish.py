"""What somebody wants served by a name: told by HTTP to a gateway, carried out by the controller, kept in the ledger."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from synfire.base.errors import UserError
from synfire.plan.replicas import MOST_REPLICAS

WishStatus = Literal["loading", "accepted", "failed", "leaving"]
"""`loading`: it is being read and planned. `accepted`: it is, and each of its replicas is served, or waits for workers. `failed`: it cannot
be as it is wanted, for the reason that is told; that is tried again where it may pass. `leaving`: it is wanted no longer."""


class Scale(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Between how many replicas a model scales by itself: so many that each has about `calls` calls at a time, those that wait included.
    Where the `least` is 0 the last one sleeps after `idle_s` seconds without a call, and the next call, which is held, wakes it."""

    most: int
    least: int = 1
    calls: float = 8.0
    idle_s: float = 300.0

    def check(self, name: str) -> None:
        """Raise `UserError` for what cannot be."""
        if not 0 <= self.least <= self.most or not 1 <= self.most <= MOST_REPLICAS:
            raise UserError(
                f"model {name!r} is to scale from {self.least} to {self.most} replicas; ask for 0 or more, and for {MOST_REPLICAS} at most"
            )
        if not 0 < self.calls < 1e6 or not 0 <= self.idle_s < 1e9:
            raise UserError(
                f"model {name!r} is to scale by {self.calls:g} calls a replica and to sleep after {self.idle_s:g} s; both are above 0"
            )


class StageScale(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many replicas of one stage there are to be: from `least` to `most`, as its work takes."""

    most: int
    least: int = 1

    def check(self, name: str) -> None:
        """Raise `UserError` for what cannot be."""
        if not 1 <= self.least <= self.most <= MOST_REPLICAS:
            raise UserError(
                f"stage {name} is to have from {self.least} to {self.most} replicas; ask for 1 or more, and for {MOST_REPLICAS} at most"
            )


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model and how it is to be served. `source` is a name: of the zoo, imported, or in the store.

    `workers` is over how many it is spread: by default over as many as its cut has stages where `granularity` names a cut, else over one.
    `memory` is what each may hold, such as `2GiB`. `profile` goes without another `device` than the processor. Of models for which
    there is no room those of the lowest `priority` are stopped. With a `scale` it has as many replicas as its calls take. Some of its `stages`, by
    their names in the plan, may have several replicas in each of these.
    """

    source: str
    granularity: str = "auto"
    workers: int | None = None
    apart: bool = False
    device: str = "cpu"
    profile: str | None = None
    replicas: int = 1
    priority: int = 0
    context: int | None = None
    accept: str = "tensor"
    memory: str | None = None
    scale: Scale | None = None
    stages: dict[str, StageScale] = {}

    def check(self, name: str, granularities: Iterable[str], devices: Iterable[str]) -> None:
        """Raise `UserError` for what cannot be, whatever the model is."""
        for what, value, known in (
            ("granularity", self.granularity, granularities),
            ("device", self.device, devices),
            ("accept", self.accept, ACCEPTS),
        ):
            if value not in (names := tuple(known)):
                raise UserError(f"{what} {value!r} is not known; it is one of {', '.join(names)}")
        if not 0 <= self.replicas <= MOST_REPLICAS:
            raise UserError(f"model {name!r} is wanted in {self.replicas} replicas; ask for 0 to {MOST_REPLICAS}")
        if self.scale is not None:
            self.scale.check(name)
        for stage, each in self.stages.items():
            each.check(f"{name}.{stage}")
        if self.workers is not None and not 1 <= self.workers <= 256:
            raise UserError(f"model {name!r} is wanted on {self.workers} workers; ask for 1 to 256, or leave it out")
        if self.context is not None and self.context < 1:
            raise UserError(f"model {name!r} is wanted with a context of {self.context}; ask for 1 token or more")
        if self.profile and self.device != "cpu":
            raise UserError(
                f"profile {self.profile} and device {self.device} both say what runs {name!r}; leave one out"
            )
        if not self.source or self.source.startswith((".", "/", "~")) or "=" in self.source:
            raise UserError(
                f"source {self.source!r} is no name: over HTTP a model of the zoo, an imported one, or one of the store is named, and no path"
            )

    def alike(self, other: Wish) -> bool:
        """Whether both are served along the same plan: only how often, and how important they are, may differ."""
        one, two = (msgspec.structs.replace(each, replicas=0, priority=0, scale=None) for each in (self, other))
        return one == two


ACCEPTS = ("tensor", "image", "negative")


class Wished(msgspec.Struct, frozen=True):
    """A wish, and what has become of it; the `reason` in words where it has failed. `models` are what its replicas are called."""

    name: str
    wish: Wish
    status: WishStatus = "loading"
    reason: str = ""
    models: tuple[str, ...] = ()
