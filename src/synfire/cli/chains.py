"""Chains on the command line: their files among the models that are named, and what these bring along."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from synfire.base.errors import UserError
from synfire.chains import Chain, Joined, is_chain, join, read_chain
from synfire.chains.fusing import fuse
from synfire.chains.operators import graph_of
from synfire.graph import Graph
from synfire.hub import resolve
from synfire.hub.files import is_weights
from synfire.store import ModelName
from synfire.store.names import LATEST, parted
from synfire.zoo import Model, find


class Named(NamedTuple):
    """Chains, and the references of all models that are to be served: those that were named, and those that the chains bring. `wanted_by`
    says which chain, and where in it, wants the latter."""

    chains: tuple[Chain, ...]
    models: list[str]
    wanted_by: dict[str, str]


def chains_among(references: Sequence[str], ruled: Sequence[str] = ()) -> Named:
    """The chains among references, and what is served with them; steps may also call names that are `ruled`. Raises `UserError` as
    `read_chain` does, and for two chains of one name."""
    chains: dict[str, Chain] = {}
    wanted_by: dict[str, str] = {}
    models = [each for each in references if not is_chain(each)]
    named = {each.partition("=")[0] for each in models if "=" in each}
    waiting = [each for each in references if is_chain(each)]
    while waiting:
        name, _, path = waiting.pop(0).rpartition("=")
        chain = read_chain(Path(path), name)
        if chains.setdefault(chain.name, chain) != chain:
            raise UserError(f"two chains are called {chain.name}; give one of them another name with NAME=PATH")
        brought = [f"{called}={each}" for called, each in chain.models.items() if called not in {*named, *chains}]
        waiting += [each for each in brought if is_chain(each)]
        fresh = [each for each in brought if not is_chain(each) and each not in models]
        models += fresh
        wanted_by |= {each: f"chain {chain.name}, model {each.partition('=')[0]!r}" for each in fresh}
    left_open = [each for each in _left_open(chains, models) if each not in ruled]
    wanted_by |= {each: _calling(chains, each) for each in left_open}
    return Named(tuple(chains.values()), models + left_open, wanted_by)


def awaited(named: Named, references: Sequence[str]) -> set[str]:
    """The models of the store that only steps name: where the store is served, too, the first step that calls one loads it."""
    only = [each for each in named.models if each not in references and ModelName.suits(each)]
    return {resolve(each).name for each in only if is_weights(each)}


def joined(chains: Sequence[Chain], models: Sequence[Model], rules: Mapping[str, str] | None = None) -> list[Joined]:
    """The chains, checked against these models, and against each other where one calls another; `rules` say which model stands for a
    name that answers by a rule. Raises `UserError` as `join` does, and for chains that call each other."""
    known = _graphs(models, rules or {})
    found: list[Joined] = []
    waiting = list(chains)
    while waiting:
        names = {each.name for each in waiting}
        ready = [each for each in waiting if not names & set(each.called)]
        if not ready:
            raise UserError(f"the chains {', '.join(sorted(names))} call each other; a chain cannot wait for itself")
        for chain in ready:
            found.append(_join(chain, known))
            waiting.remove(chain)
        known |= {each.chain.name: graph_of(each) for each in found}
    return found


def as_few(
    chains: Sequence[Joined],
    models: Sequence[Model],
    rules: Mapping[str, str] | None = None,
    copied: Collection[str] = (),
) -> tuple[list[Joined], list[Model]]:
    """The chains with as few steps as they can have, and models that stand for several of their steps each; see `fuse`. Steps that call
    names that answer by `rules`, or models of which there are `copied` ones, stay by themselves."""
    known, found, more = _graphs(models, rules or {}), [], []
    known |= {each.chain.name: graph_of(each) for each in chains}
    for each in chains:
        fused = fuse(each, known, {*(rules or ()), *copied})
        more += [Model(name, graph, f"steps of chain {each.chain.name}") for name, graph in fused.graphs.items()]
        found.append(join(fused.chain, {**known, **fused.graphs}) if fused.graphs else each)
    return found, more


def _join(chain: Chain, known: Mapping[str, Graph]) -> Joined:
    try:
        return join(chain, known)
    except UserError as error:
        raise type(error)(f"chain {chain.name}: {error}") from error


def _graphs(models: Sequence[Model], rules: Mapping[str, str]) -> dict[str, Graph]:
    """The models' graphs, by all names that they may be called; the highest version by the name alone, or what a rule says."""
    found: dict[str, Graph] = {}
    for model in sorted(models, key=lambda each: (len(each.version), each.version)):
        name, version = parted(model.name, model.version)
        found |= {name: model.graph, f"{name}@{version}": model.graph, f"{name}:{LATEST}": model.graph}
    return found | {name: found[model] for name, model in rules.items() if model in found}


def _left_open(chains: Mapping[str, Chain], models: Sequence[str]) -> list[str]:
    """What chains call that nobody has named: their steps name it as it is found."""
    called = [name for chain in chains.values() for name in chain.called if name not in chains]
    known = {each.partition("=")[0].partition("@")[0] for each in models}
    missing = [name for name in dict.fromkeys(called) if name.partition("@")[0].removesuffix(f":{LATEST}") not in known]
    files = [each for each in models if "=" not in each and ("/" in each or Path(each).suffix)]
    if missing and files:
        names = {find(each).name for each in files}
        missing = [name for name in missing if name.partition("@")[0] not in names]
    return missing


def _calling(chains: Mapping[str, Chain], model: str) -> str:
    """The first step that calls a model, in words."""
    steps = ((chain, step) for chain in chains.values() for step in chain.steps if model in step.models)
    chain, step = next(steps)
    return f"chain {chain.name}, step {step.name!r}"
