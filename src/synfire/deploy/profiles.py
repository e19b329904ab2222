"""The profiles of models on this machine: listed, chosen by a user's words, and built before they are served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import msgspec

from synfire.base.errors import UnknownName
from synfire.base.telling import Tell, tell
from synfire.deploy.measurements import Variants
from synfire.deploy.planned import Planned
from synfire.deploy.planning import ENGINE
from synfire.deploy.prices import prices
from synfire.deploy.samples import samples_of
from synfire.deploy.whole import whole_engine
from synfire.engines.engine import ENGINES
from synfire.engines.measure import measured
from synfire.engines.profiles.build import Built, build, known
from synfire.engines.profiles.machine import Machine
from synfire.engines.profiles.offers import AUTO, Offer, chosen, offers, profile_of, whole_profile
from synfire.engines.profiles.profile import Profile
from synfire.engines.samples import Source
from synfire.graph import Graph, flatten
from synfire.graph.passes import simplify
from synfire.plan import Costs
from synfire.zoo import Model


@dataclass(frozen=True)
class Listed:
    """A model, flat and simplified, with what it is measured on, its profiles, and what was built of these just now, by id."""

    model: Model
    graph: Graph
    source: Source
    offers: tuple[Offer, ...]
    fresh: Mapping[str, Built] = field(default_factory=dict)

    def built(self, profile: Profile) -> Built | None:
        """What was measured of it, now or before."""
        return self.fresh.get(profile.id) or known(profile, self.source)


def listed(model: Model, machine: Machine) -> Listed:
    """The model's profiles on this machine; its operators are measured, or that is recalled."""
    graph = flatten(model.graph)
    if graph.whole:
        return Listed(model, graph, samples_of(graph), offers(model.name, graph, Costs(), machine))
    graph = simplify(graph)
    source = samples_of(graph)
    costs = msgspec.structs.replace(measured(graph, ENGINES[ENGINE](), source), hop=prices())
    return Listed(model, graph, source, offers(model.name, graph, costs, machine))


def choose(models: Sequence[Listed], wanted: Sequence[str]) -> dict[str, Profile]:
    """A profile for each model by its name: what `[MODEL=]PROFILE` says, `auto` where nothing does.

    A word without a model is meant for every model that has such a profile. Raises `UnknownName` where none has, and
    `UserError` for a profile that does not run here.
    """
    names = [each.model.name for each in models]
    found: dict[str, Profile] = {}
    for word in wanted:
        model, _, profile = word.rpartition("=")
        if model and model not in names:
            raise UnknownName.among("model", model, names)
        asked = [each for each in models if model in ("", each.model.name)]
        found |= _matching(asked, profile)
    return found | {each.model.name: chosen(each.offers, AUTO) for each in models if each.model.name not in found}


def _matching(models: Sequence[Listed], wanted: str) -> dict[str, Profile]:
    """The profile of each model that has one of that name or id. Raises what the last says when none has."""
    found: dict[str, Profile] = {}
    refused: UnknownName | None = None
    for each in models:
        try:
            found[each.model.name] = chosen(each.offers, wanted)
        except UnknownName as error:
            refused = error
    if not found and refused is not None:
        raise refused
    return found


def build_all(graph: Graph, profiles: Sequence[Profile], tell: Tell = tell) -> list[Built]:
    """Build a graph's profiles, or recall that they were. Of a model that runs whole that is left to its engine, and nothing is measured.

    Raises `UserError` for a model that an engine cannot run after all.
    """
    if graph.whole:
        for each in profiles:
            whole_engine(each.engine).build_ahead(graph, partial(tell, f"building {each.model} {each.name}"))
        return []
    source = samples_of(graph)
    return [build(graph, each, source, partial(tell, f"building {each.model} {each.name}")) for each in profiles]


def build_planned(planned: Sequence[Planned], profiles: Mapping[str, Profile], tell: Tell = tell) -> None:
    """Build what is to be served: each model's profile, by name, or the usual one.

    Of an exact profile a build tells how fast it is, which is as fast for all variants of a model that have the same samples: one of them
    is built for all.
    """
    built = Variants[Profile]()
    for each in planned:
        profile = profiles.get(each.model.name) or _usual(each)
        alike = profile.exact and not each.graph.whole
        way = f"{profile.name} on {samples_of(each.graph).digest}"
        if alike and built.of(each.graph, way):
            continue
        build_all(each.graph, [profile], tell)
        if alike:
            built.keep(each.graph, way, profile)


def _usual(planned: Planned) -> Profile:
    """The profile that a model is served by where nobody asked for one."""
    name, graph = planned.model.name, planned.graph
    if graph.whole:
        return whole_profile(name, graph, whole_engine(planned.plan.engine), 0)
    return profile_of(name, graph, ENGINES[ENGINE], len(planned.plan.workers))
