"""A spike takes one time step to the next layer: which step of the chip belongs to which step of the graph.

Population p computes step t of the graph at chip step t + latency[p]. Where a path is shorter than a parallel one, or a
synapse is delayed, spikes wait in delay populations: neurons that fire one step after they are fired at.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from synfire.base.errors import UserError
from synfire.devices.darwin3.ir import GATE, Convolution, Full, Network, Population, Projection
from synfire.devices.darwin3.words import MOST_INDICES
from synfire.ops import Array


def timed(network: Network) -> Network:
    """The network with copies and delay populations where they are needed, and every population's latency.

    Raises `UserError` for a cycle that has more layers than time steps.
    """
    network = _with_copies(_joined_up(network))
    latency = _latencies(network)
    populations, projections = dict(network.populations), []
    for each in network.projections:
        source = each.source
        if source in network.populations:
            wait = latency[each.target] - latency[source] - 1 + each.delay_steps
            for number in range(1, wait + 1):
                name = f"{each.source}+{number}"
                if name not in populations:
                    populations[name] = replace(_copy(network.populations[each.source]), name=name)
                    projections.append(_joined(source, populations[name]))
                    latency[name] = latency[source] + 1
                source = name
        projections.append(replace(each, source=source))
    return replace(network, populations=populations, projections=tuple(projections), latency=latency)


def read_by_host(network: Network) -> tuple[str, ...]:
    """The populations whose spikes leave the chip: outputs, and what delayed synapses read (it is part of the state)."""
    outputs = [name for each in network.outputs.values() if not each.membrane for name, _ in each.terms]
    delayed = [each.source for each in network.projections if each.delay_steps and each.source in network.populations]
    return tuple(dict.fromkeys([*outputs, *delayed]))


def _joined_up(network: Network) -> Network:
    """One dendrite for all of a source that only all-to-all synapses read: its spikes' index then counts all elements.

    So a reading piece is one entry in the source's axons, not one for every channel.
    """
    told = read_by_host(network)
    projections = []
    for each in network.projections:
        readers = network.leaving(each.source)
        size = math.prod(each.form.in_shape)
        alone = all(isinstance(r.form, Full) and np.array_equal(r.place, each.place) for r in readers)
        if alone and isinstance(each.form, Full) and size <= MOST_INDICES and each.source not in told:
            each = replace(each, form=replace(each.form, pixels=size))
        projections.append(each)
    return replace(network, projections=tuple(projections))


def _with_copies(network: Network) -> Network:
    """A neuron's spikes carry one index: readers that want another one read a copy of the population."""
    populations, projections, outputs = dict(network.populations), list(network.projections), dict(network.outputs)
    for name, population in network.populations.items():
        own = np.arange(population.size) % population.layout.pixels
        groups: list[Array] = [own] if name in read_by_host(network) else []
        for i, each in enumerate(projections):
            if each.source != name:
                continue
            number = _agreeing(groups, each.index)
            if number == 0:
                continue
            copy = replace(_copy(population), name=f"{name}:copy{number}")
            if copy.name not in populations:
                populations[copy.name] = copy
                projections.append(_joined(name, copy))
                if _agreeing(groups[:1], own) != 0:
                    raise UserError(f"the spikes of {name!r} are pooled in several ways; place one reader on cpu")
            projections[i] = replace(each, source=copy.name)
    return replace(network, populations=populations, projections=tuple(projections), outputs=outputs)


def _agreeing(groups: list[Array], index: Array) -> int:
    """The first group that asks for the same index of every neuron; it takes up what it had not asked for."""
    for number, group in enumerate(groups):
        both = (group >= 0) & (index >= 0)
        if (group[both] == index[both]).all():
            groups[number] = np.where(group >= 0, group, index)
            return number
    groups.append(index)
    return len(groups) - 1


def _latencies(network: Network) -> dict[str, int]:
    """The earliest steps that fit: longest paths, where a delayed synapse gives time back."""
    latency = dict.fromkeys(network.populations, 0)
    inner = [each for each in network.projections if each.source in latency]
    for _ in range(len(latency) + 1):
        late = [each for each in inner if latency[each.target] < _due(latency, each)]
        if not late:
            return latency
        for each in late:
            latency[each.target] = max(latency[each.target], _due(latency, each))
    raise UserError(
        f"a cycle through {late[0].source!r} and {late[0].target!r} has more layers than its delays have time steps, and the "
        "chip takes a step from layer to layer; place it on cpu"
    )


def _due(latency: dict[str, int], each: Projection) -> int:
    return latency[each.source] + 1 - each.delay_steps


def _copy(population: Population) -> Population:
    return Population(population.name, population.shape, GATE, np.ones(1))


def _joined(source: str, copy: Population) -> Projection:
    """One synapse from each neuron to its copy."""
    layout = copy.layout
    form = Convolution(np.ones((layout.channels, 1, 1, 1)), (layout.height, layout.width), groups=layout.channels)
    return Projection(source, copy.name, np.arange(copy.size), form)
