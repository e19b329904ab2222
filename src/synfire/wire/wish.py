"""What somebody wants served by a name: told by HTTP to a gateway, carried out by the controller, kept in the ledger."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from synfire.base.errors import UserError
from synfire.plan.plan import IDLE_S, MOST_RATE
from synfire.plan.replicas import MOST_REPLICAS, Range

WishStatus = Literal["loading", "accepted", "failed", "leaving"]
"""`loading`: it is being read and planned. `accepted`: it is, and each of its replicas is served, or waits for workers. `failed`: it cannot
be as it is wanted, for the reason that is told; that is tried again where it may pass. `leaving`: it is wanted no longer."""


class Scale(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Between how many replicas a model scales by itself: so many that each has about `calls` calls at a time, those that wait included.
    Where the `least` is 0 the last one sleeps after `idle_s` seconds without a call, and the next call, which is held, wakes it."""

    most: int
    least: int = 1
    calls: float = 8.0
    idle_s: float = IDLE_S

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
    """How many replicas of one stage there are to be: from `least` to `most`, as its work takes. Where the `least` is 0 it sleeps after
    `idle_s` seconds without a call of its model, while others stay where they are, and the next call, which is held, wakes it; left out,
    `idle_s` is the model's."""

    most: int
    least: int = 1
    idle_s: float | msgspec.UnsetType = msgspec.UNSET

    def check(self, name: str) -> None:
        """Raise `UserError` for what cannot be."""
        if not 0 <= self.least <= self.most or not 1 <= self.most <= MOST_REPLICAS:
            raise UserError(
                f"stage {name} is to have from {self.least} to {self.most} replicas; ask for 0 or more at the least, and for 1 to "
                f"{MOST_REPLICAS} at the most"
            )
        if not isinstance(self.idle_s, msgspec.UnsetType) and not 0 <= self.idle_s < 1e9:
            raise UserError(
                f"stage {name} is to sleep after {self.idle_s:g} s; ask for 0 s or more, and for less than 1e9 s"
            )


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model and how it is to be served. `source` is a name: of the zoo, imported, or in the store.

    `workers` is over how many it is spread: by default over as many as its cut has stages where `granularity` names a cut, else over one.
    `memory` is what each may hold, such as `2GiB`. `profile` goes without another `device` than the processor. Of models for which
    there is no room those of the lowest `priority` are stopped. With a `scale` it has as many replicas as its calls take. Some of its `stages`, by
    their names in the plan, may have several replicas in each of these, or sleep. Each replica is to bear `rate`
    requests a second, of one sample each: on chips it asks for the events a second that these bring. A `variant_of` another model, which differs from it in some operators, is cut as
    that is, and its other stages are where that one has them.
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
    variant_of: str | msgspec.UnsetType = msgspec.UNSET
    rate: float | msgspec.UnsetType = msgspec.UNSET

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
        check_rate(name, self.rate if isinstance(self.rate, float) else None)
        self._check_variant(name)
        if not self.source or self.source.startswith((".", "/", "~")) or "=" in self.source:
            raise UserError(
                f"source {self.source!r} is no name: over HTTP a model of the zoo, an imported one, or one of the store is named, and no path"
            )

    @property
    def base(self) -> str:
        """The model that it is to be a variant of; empty for none."""
        return self.variant_of if isinstance(self.variant_of, str) else ""

    @property
    def requests_s(self) -> float:
        """How many requests a second each replica is to bear; 0 where nobody says."""
        return self.rate if isinstance(self.rate, float) else 0.0

    def _check_variant(self, name: str) -> None:
        """What another model decides is not asked for beside it."""
        if not self.base:
            return
        if self.base == name:
            raise UserError(f"model {name!r} is wanted as a variant of itself; name the one that it differs from")
        own = Wish(
            self.source, replicas=self.replicas, priority=self.priority, context=self.context, accept=self.accept
        )
        if self.replicas > 1 or self != msgspec.structs.replace(own, variant_of=self.variant_of):
            raise UserError(
                f"model {name!r} is wanted as a variant of {self.base!r}, so it is cut and placed as that is, once: leave out granularity, "
                "workers, apart, device, profile, replicas, memory, scale, stages and rate"
            )

    @property
    def ranges(self) -> dict[str, Range]:
        """How many replicas stages are to have, of those that may have several, or none."""
        return {name: found for name, each in self.stages.items() if (found := self._range(each)).varies}

    def alike(self, other: Wish) -> bool:
        """Whether both are served along the same cut: only how often, as a whole or in stages, and how important they are, may differ."""
        one, two = (
            msgspec.structs.replace(each, replicas=0, priority=0, scale=None, stages={}) for each in (self, other)
        )
        return one == two

    def _range(self, stage: StageScale) -> Range:
        usual_s = IDLE_S if self.scale is None else self.scale.idle_s
        return Range(stage.least, stage.most, usual_s if isinstance(stage.idle_s, msgspec.UnsetType) else stage.idle_s)


def check_rate(name: str, requests_s: float | None) -> None:
    """Raise `UserError` for a number of requests a second that no model can be asked to bear."""
    if requests_s is not None and not 0 < requests_s <= MOST_RATE:
        raise UserError(
            f"model {name!r} is to bear {requests_s:g} requests a second; ask for more than 0, and {MOST_RATE:.0f} at most, or leave the rate out"
        )


ACCEPTS = ("tensor", "image", "negative")


class Wished(msgspec.Struct, frozen=True):
    """A wish, and what has become of it; the `reason` in words where it has failed. `models` are what its replicas are called."""

    name: str
    wish: Wish
    status: WishStatus = "loading"
    reason: str = ""
    models: tuple[str, ...] = ()
