"""Steps that hand each other values over time steps become one model: a graph of graphs, which is planned, cut and placed as any other.

Their frames then travel from worker to worker, and a step works on one time step while the one before it works on the next. Answers are the
same bits. What a readout gives is no such value: it is known when the last time step is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from synfire.base.errors import UserError
from synfire.chains.chain import REQUEST, Ask, Chain, Place, Source, Step
from synfire.chains.conditions import places_in
from synfire.chains.joined import Joined
from synfire.chains.joints import join, named
from synfire.graph import Graph, Synapse, flatten
from synfire.ops import Clock, Signal


class Fused(NamedTuple):
    """A chain, and the `graphs`, by the names of new models, that stand for several of its steps each."""

    chain: Chain
    graphs: dict[str, Graph]


def fuse(joined: Joined, models: Mapping[str, Graph], apart: Collection[str] = ()) -> Fused:
    """The chain with as few steps as it can have. A step stays by itself that has a condition, a time or retries of its own, is looked at
    by a condition, or calls a model that is run whole or to be kept `apart`."""
    chain, graphs = joined.chain, dict[str, Graph]()
    for group in _groups(joined, {name: graph for name, graph in models.items() if name not in apart}):
        name = f"{chain.name}.{'..'.join((group[0], group[-1]))}"
        try:
            fused, graph = _one(joined, chain, group, models, name)
            join(fused, {**models, **graphs, name: _checked(graph)})
        except UserError:  # encoders of unlike length, say: these steps are called one after the other
            continue
        chain, graphs[name] = fused, graph
    return Fused(chain, graphs)


def _groups(joined: Joined, models: Mapping[str, Graph]) -> list[tuple[str, ...]]:
    """Steps that can be one each, in their order, two of them or more."""
    chain = joined.chain
    looked_at = {place.step for step in chain.steps for each in step.conditions for place in places_in(each)}
    able = {each.name for each in chain.steps if _is_plain(each, models) and each.name not in looked_at}
    groups = {name: [name] for name in joined.order if name in able}
    for name in joined.order:
        for before in _fed_by(joined, name, models) if name in able else ():
            if before in able and groups[before] is not groups[name]:
                both = [each for each in joined.order if each in (*groups[before], *groups[name])]
                groups |= dict.fromkeys(both, both)
    found = {tuple(each): None for each in groups.values() if len(each) > 1}
    return [each for each in found if not _surrounds(joined, each)]


def _is_plain(step: Step, models: Mapping[str, Graph]) -> bool:
    does = step.does
    if not isinstance(does, Ask) or does.templates or step.when or step.retries or step.timeout_s is not None:
        return False
    graph = models.get(does.model)
    return (
        graph is not None
        and graph.batches
        and not graph.whole
        and not graph.open_ended
        and not isinstance(graph.metadata.get("chain"), str)
    )


def _fed_by(joined: Joined, name: str, models: Mapping[str, Graph]) -> Iterator[str]:
    """The steps whose values the step could take as they come: one a time step, or one a request."""
    for wanted, source in _taken(joined.chain.step(name), models):
        if len(source.places) == 1 and source.places[0].step != REQUEST:
            given = _signal(joined, source.places[0])
            if given.clock is not Clock.RUNNING and (given.shape, given.kind) == (wanted.shape, wanted.kind):
                yield source.places[0].step


def _surrounds(joined: Joined, group: Sequence[str]) -> bool:
    """Whether a step outside reads one of the group, and is read by another one: as one, the group would wait for itself."""
    behind: set[str] = set()
    for name in joined.order:
        reads = {place.step for place in _places(joined.chain.step(name))}
        if name not in group and reads & {*group, *behind}:
            behind.add(name)
        if name in group and reads & behind:
            return True
    return False


def _one(
    joined: Joined, chain: Chain, group: Sequence[str], models: Mapping[str, Graph], name: str
) -> tuple[Chain, Graph]:
    """The chain with one step for the group, and the graph that this calls."""
    inputs, sources, synapses = dict[str, Signal](), dict[str, Source](), list[Synapse]()
    for step in map(chain.step, group):
        for port, (wanted, source) in enumerate(_taken(step, models)):
            key = str(source) if len(source.places) == 1 else f"{step.name}.{port}"
            key = key if inputs.get(key, wanted) == wanted else f"{step.name}.{port}"
            inner = bool(source.places) and source.places[0].step in group
            if not inner:
                inputs[key], sources[key] = wanted, source
            synapses.append(Synapse(_nested(joined, source.places[0]) if inner else key, step.name, port))
    read = dict.fromkeys(_exact(joined, place) for place in _read_outside(chain, group))
    outputs = {str(place): _nested(joined, place) for place in read}
    graph = Graph({each: models[chain.step(each).models[0]] for each in group}, tuple(synapses), inputs, outputs)
    return _replaced(
        joined, chain, group, Step(name="..".join((group[0], group[-1])), does=Ask(name), inputs=sources)
    ), graph


def _checked(graph: Graph) -> Graph:
    """The graph. Raises `UserError` where it cannot run as one."""
    _ = flatten(graph).steps
    return graph


def _replaced(joined: Joined, chain: Chain, group: Sequence[str], new: Step) -> Chain:
    """The chain with the `new` step in place of the group."""

    def moved(source: Source) -> Source:
        places = (Place(new.name, str(_exact(joined, each))) if each.step in group else each for each in source.places)
        return msgspec.structs.replace(source, places=tuple(places))

    def inputs_of(step: Step) -> Step:
        return msgspec.structs.replace(step, inputs={name: moved(source) for name, source in step.inputs.items()})

    steps = [new if each.name == group[0] else inputs_of(each) for each in chain.steps if each.name not in group[1:]]
    outputs = {name: moved(source) for name, source in chain.outputs.items()}
    return msgspec.structs.replace(chain, steps=tuple(steps), outputs=outputs)


def _read_outside(chain: Chain, group: Sequence[str]) -> Iterator[Place]:
    """The places of the group that others read."""
    sources = [source for step in chain.steps if step.name not in group for source in step.inputs.values()]
    for source in (*sources, *chain.outputs.values()):
        yield from (place for place in source.places if place.step in group)


def _taken(step: Step, models: Mapping[str, Graph]) -> list[tuple[Signal, Source]]:
    """What the step's model takes, port by port, and from where."""
    graph = models[step.models[0]]
    sources = named(step.inputs, graph)
    return [(signal, sources[name]) for name, signal in graph.inputs.items()]


def _places(step: Step) -> Iterator[Place]:
    for source in step.inputs.values():
        yield from source.places
    for condition in step.conditions:
        yield from places_in(condition)


def _exact(joined: Joined, place: Place) -> Place:
    """The place with its output named."""
    return place if place.output else Place(place.step, next(iter(joined.gives[place.step])))


def _signal(joined: Joined, place: Place) -> Signal:
    exact = _exact(joined, place)
    return joined.gives[exact.step][exact.output]


def _nested(joined: Joined, place: Place) -> str:
    """What a graph of graphs calls a place."""
    exact = _exact(joined, place)
    return f"{exact.step}/{exact.output}"
