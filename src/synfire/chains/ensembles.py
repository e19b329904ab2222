"""Triton's ensembles as chains: each step calls a model, and tensors go by the names that the ensemble has for them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from synfire.base.errors import UserError
from synfire.chains.chain import OUTPUTS, REQUEST, Ask, Chain, Place, Source, Step
from synfire.formats.triton.config import Config, EnsembleStep
from synfire.formats.triton.layout import configured
from synfire.formats.triton.reading import FILE


def read_ensemble(folder: Path, name: str = "") -> Chain:
    """The ensemble in a folder of a repository, called as its folder where no other name is given. Raises `UserError` for a tensor that
    nothing gives, or more than one."""
    config, where = configured(folder), str(folder / FILE)
    if not config.steps:
        raise UserError(f"{where} has no step; an ensemble names its models in ensemble_scheduling")
    steps = _named(config)
    places = _places(where, config, steps)
    return Chain(
        name=name or folder.name,
        steps=tuple(_step(where, called, step, places) for called, step in steps.items()),
        outputs={each.name: _source(f"{where}: output {each.name!r}", each.name, places) for each in config.outputs},
    )


def _named(config: Config) -> dict[str, EnsembleStep]:
    """The steps, called as their models are, as far as a step can be."""
    found: dict[str, EnsembleStep] = {}
    for step in config.steps:
        plain = re.sub(r"\W", "_", step.model, flags=re.ASCII)
        name = f"step_{plain}" if plain[:1].isdigit() or plain in ("", REQUEST, OUTPUTS) else plain
        while name in found:
            name += "_"
        found[name] = step
    return found


def _places(where: str, config: Config, steps: Mapping[str, EnsembleStep]) -> dict[str, Place]:
    """Where each of the ensemble's tensors comes from."""
    found = {each.name: Place(REQUEST, each.name) for each in config.inputs}
    for name, step in steps.items():
        for output, tensor in step.outputs.items():
            if tensor in found:
                raise UserError(
                    f"{where}: tensor {tensor!r} comes from {found[tensor]}, and from {name}.{output}; rename one"
                )
            found[tensor] = Place(name, output)
    return found


def _step(where: str, name: str, step: EnsembleStep, places: Mapping[str, Place]) -> Step:
    inputs = {
        port: _source(f"{where}: step {step.model!r}, input {port!r}", tensor, places)
        for port, tensor in step.inputs.items()
    }
    model = step.model if step.version < 0 else f"{step.model}@{step.version}"
    return Step(name=name, does=Ask(model), inputs=inputs)


def _source(what: str, tensor: str, places: Mapping[str, Place]) -> Source:
    if tensor not in places:
        raise UserError(
            f"{what} is {tensor!r}, which neither the request nor a step gives; there are {', '.join(places)}"
        )
    return Source((places[tensor],))
