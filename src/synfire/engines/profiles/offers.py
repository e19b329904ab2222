"""What of all ways to serve a model fits this machine, and why the others do not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from synfire.base.errors import PermanentError, UnknownName, UserError
from synfire.devices import DEVICES
from synfire.engines.engine import ENGINES, PROCESSOR, Engine
from synfire.engines.profiles.machine import WORKER_BYTES, Machine
from synfire.engines.profiles.profile import LATENCY, THROUGHPUT, Profile, Requirements
from synfire.engines.streaming import WholeEngine
from synfire.graph import Graph
from synfire.plan import Costs, Demand, Plan, memory_bytes, plan_model, plan_offloaded, rooms, stage_graph
from synfire.plan.costs import format_bytes
from synfire.plan.place import DoesNotFit

AUTO = "auto"
"""The usual choice: exact, on the processor, with the least time of a request."""

GAIN = 1.1
"""A plan must allow so many times the requests of the usual one to be a profile of its own: predictions err by some percent."""


class Fit(StrEnum):
    """Whether a profile can be served here."""

    RUNNABLE = "runnable"
    LOW = "low on memory"
    INCOMPATIBLE = "incompatible"


@dataclass(frozen=True)
class Offer:
    """A profile, and whether it fits this machine: why not, or what is to be known.

    `requests_s` is how many requests a second its plan is predicted to allow; 0 where nobody can say.
    """

    profile: Profile
    fit: Fit
    remark: str = ""
    requests_s: float = 0.0


def offers(name: str, graph: Graph, costs: Costs, machine: Machine) -> tuple[Offer, ...]:
    """All profiles of a flat, simplified graph, the usual one first. Engines for whole models are told of these alone."""
    asking = _Asking(name, graph, costs, machine)
    if graph.whole:
        found = [asking.whole(each) for each in whole_engines()]
        return tuple(sorted(found, key=lambda each: each.fit is Fit.INCOMPATIBLE))
    able = (each for each in ENGINES if not issubclass(ENGINES[each], WholeEngine))
    usual = sorted(able, key=lambda each: (ENGINES[each].device != PROCESSOR, not ENGINES[each].exact, each))
    return tuple(offer for each in usual for offer in asking.of(ENGINES[each]))


def whole_engines() -> list[type[WholeEngine]]:
    """The engines for whole models, the most usual first."""
    found = [each for each in map(ENGINES.__getitem__, ENGINES) if issubclass(each, WholeEngine)]
    return sorted(found, key=lambda each: (each.standing(), each.name))


def profile_of(name: str, graph: Graph, engine: type[Engine], workers: int = 1, goal: str = LATENCY) -> Profile:
    """The profile of a flat, simplified graph with that engine and a plan on so many workers.

    It needs the parameters as the engine keeps them, the state of a plan's requests, and the workers themselves.
    """
    whole = memory_bytes(graph, graph.order(), Demand.requests)
    stored = sum(graph.operator(each).parameter_bytes for each in graph)
    needed = whole - stored + engine.parameter_bytes(graph) + workers * WORKER_BYTES
    return Profile(
        model=name,
        digest=graph.content_digest(),
        engine=engine.name,
        format=engine.format,
        device=engine.device,
        exact=engine.exact,
        goal=goal,
        requires=Requirements(memory_bytes=needed, workers=workers),
    )


def whole_profile(name: str, graph: Graph, engine: type[WholeEngine], needed: int) -> Profile:
    """The profile of a flat graph that an engine runs whole, which takes so many bytes."""
    return Profile(
        model=name,
        digest=graph.content_digest(),
        engine=engine.name,
        format=engine.precision(graph),
        device=engine.device,
        exact=False,
        goal=engine.goal,
        requires=Requirements(memory_bytes=needed),
    )


def chosen(found: Sequence[Offer], wanted: str) -> Profile:
    """The runnable profile that is `wanted`: `auto`, `latency`, `throughput`, a name, or the first digits of an id.

    The first three are exact, but for a model that runs whole. Raises `UnknownName`, and `UserError` for one that does not run here or
    digits of several.
    """
    if wanted in (AUTO, LATENCY, THROUGHPUT):
        sure = [each.profile for each in found if _sure(each.profile) and each.fit is Fit.RUNNABLE]
        best = [each for each in sure if each.goal == wanted] + sure
        if not best:
            raise UserError(f"no exact profile of {found[0].profile.model} runs here: {_remarks(found)}")
        return best[0]
    matching = [each for each in found if wanted == each.profile.name or _begins(each.profile.id, wanted)]
    if not matching:
        names = [AUTO, LATENCY, THROUGHPUT, *(each.profile.name for each in found)]
        raise UnknownName.among(f"profile of {found[0].profile.model}", wanted, names)
    if len(matching) > 1:
        raise UserError(f"{len(matching)} profiles begin with {wanted}; give more digits of the id")
    (only,) = matching
    if only.fit is not Fit.RUNNABLE:
        raise UserError(f"profile {only.profile.name} of {only.profile.model} is {only.fit}: {only.remark}")
    return only.profile


def _sure(profile: Profile) -> bool:
    return profile.exact or issubclass(ENGINES[profile.engine], WholeEngine)


def _begins(id: str, wanted: str) -> bool:
    return len(wanted) >= 4 and id.startswith(wanted.lower())


def _remarks(found: Sequence[Offer]) -> str:
    return "; ".join(f"{each.profile.name}: {each.remark}" for each in found if each.remark)


@dataclass(frozen=True)
class _Asking:
    """A model that asks what fits it."""

    name: str
    graph: Graph
    costs: Costs
    machine: Machine

    def of(self, engine: type[Engine]) -> Iterator[Offer]:
        """The engine's profiles: one, or two where another plan gives more requests a second."""
        remark = engine.refusal(self.graph)
        if remark:
            yield Offer(self._profile(engine, 1), Fit.INCOMPATIBLE, remark)
        elif engine.device == PROCESSOR:
            yield from self._planned(engine)
        else:
            yield self._offloaded(engine)

    def whole(self, engine: type[WholeEngine]) -> Offer:
        """The profile of an engine for whole models."""
        remark = engine.refusal(self.graph)
        if remark:
            return Offer(whole_profile(self.name, self.graph, engine, 0), Fit.INCOMPATIBLE, remark)
        needed, limit = engine.whole_bytes(self.graph), self.machine.limit_bytes
        profile = whole_profile(self.name, self.graph, engine, needed + WORKER_BYTES)
        if limit is None or needed <= limit:
            return self._weighed(profile)
        return Offer(
            profile,
            Fit.LOW,
            f"it takes {format_bytes(needed)}, and a worker may hold {format_bytes(limit)}: allow more with --memory",
        )

    def _planned(self, engine: type[Engine]) -> Iterator[Offer]:
        try:
            plan = self._plan(engine, LATENCY)
        except DoesNotFit as error:
            yield Offer(self._profile(engine, self.machine.workers), Fit.LOW, str(error))
            return
        if not issubclass(engine, ENGINES[PROCESSOR]):  # its operators were not measured
            yield self._weighed(self._profile(engine, len(plan.workers)))
            return
        yield self._weighed(self._profile(engine, len(plan.workers)), requests_s=self._requests_s(plan))
        other = self._plan(engine, THROUGHPUT)
        if self._requests_s(other) > GAIN * self._requests_s(plan):
            profile = self._profile(engine, len(other.workers), THROUGHPUT)
            yield self._weighed(profile, requests_s=self._requests_s(other))

    def _requests_s(self, plan: Plan) -> float:
        """How many requests a second the plan is predicted to allow, on as many cores as there are: the gateway needs some, too."""
        hop, frames = self.costs.hop, -(-self.costs.steps // plan.frame_steps)
        worker = {stage.name: stage.worker for stage in plan.stages}
        apart = [each for each in plan.links if worker.get(each.sender, "") != worker.get(each.receiver, "")]
        inner = [each for each in apart if each.sender in worker and each.receiver in worker]
        sent_s = sum(2 * frames * hop.busy_s(each.bytes_per_step * plan.frame_steps) for each in inner)
        busy_s = hop.request_s + sum(stage.busy_s for stage in plan.stages) + sent_s
        return min(plan.requests_s, self.machine.cores / busy_s)

    def _plan(self, engine: type[Engine], goal: str) -> Plan:
        demand = Demand(self.name, self.graph, self.costs, engine=engine.name, objective=goal)
        return plan_model(demand, rooms(self.machine.workers, self.machine.limit_bytes))

    def _offloaded(self, engine: type[Engine]) -> Offer:
        profile = self._profile(engine, min(2, self.machine.workers))
        device = DEVICES[engine.device]
        try:
            device.describe()
        except PermanentError as error:
            return Offer(profile, Fit.INCOMPATIBLE, str(error))
        refused = device.refusals(self.graph)
        demand = Demand(self.name, self.graph, self.costs)
        workers = rooms(profile.requires.workers, self.machine.limit_bytes)
        try:
            plan = plan_offloaded(demand, workers, engine.name, refused)
        except DoesNotFit as error:
            return Offer(profile, Fit.LOW, str(error))
        except UserError as error:
            return Offer(profile, Fit.INCOMPATIBLE, str(error))
        for stage in plan.stages:
            again = device.refusals(stage_graph(self.graph, stage.operators)) if stage.engine else {}
            if again:  # what it takes beside the others it may refuse by itself
                return Offer(profile, Fit.INCOMPATIBLE, f"stage {stage.name} cannot go there: {_first(again)}")
        try:
            counted = [replace(each, cores=device.room()) for each in workers]
            plan_offloaded(demand, counted, engine.name, refused, cores=device.cores)
        except UserError as error:
            return Offer(profile, Fit.INCOMPATIBLE, str(error))
        said = [f"stays on the processor: {_first(refused)}"] if refused else []
        said += [_first(remarks)] if (remarks := engine.remarks(self.graph)) else []
        return self._weighed(profile, "; ".join(said))

    def _weighed(self, profile: Profile, remark: str = "", requests_s: float = 0.0) -> Offer:
        needs, free = profile.requires.memory_bytes, self.machine.free_bytes
        if needs <= free:
            return Offer(profile, Fit.RUNNABLE, remark, requests_s)
        return Offer(
            profile,
            Fit.LOW,
            f"it needs {format_bytes(needs)}, and {format_bytes(free)} are free: stop other models, or use fewer workers",
        )

    def _profile(self, engine: type[Engine], workers: int, goal: str = LATENCY) -> Profile:
        return profile_of(self.name, self.graph, engine, workers, goal)


def _first(refused: Mapping[str, str]) -> str:
    """The first of what is said of operators, and how many others there are."""
    name, why = next(iter(refused.items()))
    others = len(refused) - 1
    return f"{name}: {why}" + (f"; and {others} more" if others else "")
