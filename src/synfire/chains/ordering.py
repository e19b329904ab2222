"""Which steps wait for which."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

from synfire.base.errors import UnknownName, UserError
from synfire.chains.chain import REQUEST, Chain, Step
from synfire.chains.conditions import places_in


def ordered(chain: Chain) -> tuple[str, ...]:
    """The steps, each behind those that it reads. Raises `UnknownName` for a step that is none, `UserError` for a cycle."""
    names = [each.name for each in chain.steps]
    sorter: TopologicalSorter[str] = TopologicalSorter(dict.fromkeys(names, ()))
    for where, source in chain.sources():
        for place in source.places:
            if place.step not in (*names, REQUEST):
                raise UnknownName(f"{where}: {UnknownName.among('step', place.step, [*names, REQUEST])}")
    for step in chain.steps:
        for name in needs(step):
            if name not in names:
                raise UnknownName(
                    f"step {step.name!r}, its condition: {UnknownName.among('step', name, [*names, REQUEST])}"
                )
            sorter.add(step.name, name)
    try:
        return tuple(sorter.static_order())
    except CycleError as error:
        raise UserError(
            f"the steps {' → '.join(reversed(error.args[1]))} wait for each other; a chain has no cycles"
        ) from error


def needs(step: Step) -> tuple[str, ...]:
    """The steps that a step waits for."""
    places = [place for source in step.inputs.values() for place in source.places]
    places += [place for condition in step.conditions for place in places_in(condition)]
    return tuple(dict.fromkeys(place.step for place in places if place.step != REQUEST))
