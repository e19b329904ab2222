"""Whether a chain fits together: each step after those that it reads, and types and shapes at every joint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from synfire.base.errors import UnknownName, UserError
from synfire.chains.chain import REQUEST, Ask, Chain, Compute, Ensemble, Leaf, Place, Source, Step, Switch
from synfire.chains.conditions import places_in
from synfire.chains.fitting import check_fits, declared, signal_of
from synfire.chains.functions import FUNCTIONS, check_template, once
from synfire.chains.joined import Joined
from synfire.chains.ordering import needs, ordered
from synfire.graph import Graph
from synfire.ops import Clock, Kind, Signal
from synfire.ops.language_model import LanguageModel

TEXT, VECTOR = "text", "vector"
"""What a step that asks a language model gives: its answer, or the vector of a text."""

Signals = Mapping[str, Signal]


def join(chain: Chain, models: Mapping[str, Graph]) -> Joined:
    """Check the chain against the `models` that its steps call, by name.

    Raises `UnknownName` for a model, a step or an output that is not there; `UserError` for a cycle, an input that is missing or more, and
    for types and shapes that do not fit; each names the step, and the input.
    """
    for step in chain.steps:
        for name in step.models:
            if name not in models:
                raise UnknownName(f"step {step.name!r}: {UnknownName.among('model', name, models)}")
    order = ordered(chain)
    joining = _Joining(chain, models)
    for name in order:
        joining.add(chain.step(name))
    for name, source in chain.outputs.items():
        joining.outputs[name] = joining.signal(source, f"output {name!r}")
    streams = _streaming(chain, joining)
    graphs = [models[name] for name in chain.called]
    by_sample = any(map(_parts_samples, chain.steps)) or not all(each.batches for each in graphs)
    return Joined(
        chain=chain,
        inputs=joining.inputs,
        outputs={
            name: signal if streams in _steps_of(chain.outputs[name]) else once(signal)
            for name, signal in joining.outputs.items()
        },
        order=order,
        gives=joining.gives,
        by_sample=by_sample,
        streams=streams,
        open_ended=any(each.open_ended for each in graphs),
        plain=tuple(name for name in chain.called if not models[name].batches),
    )


class _Joining:
    """What is known of a chain while its steps are added in order."""

    def __init__(self, chain: Chain, models: Mapping[str, Graph]) -> None:
        self.gives: dict[str, dict[str, Signal]] = {}
        self.inputs: dict[str, Signal] = {name: declared(name, *typed) for name, typed in chain.inputs.items()}
        self.outputs: dict[str, Signal] = {}
        self._models = models
        for step in chain.steps:
            for leaf in step.leaves:
                if isinstance(leaf, Ask) and not leaf.templates:
                    self._note(step, models[leaf.model])

    def add(self, step: Step) -> None:
        """Check the step's inputs, and note what it gives."""
        where = f"step {step.name!r}"
        for condition in step.conditions:
            for place in places_in(condition):
                self.signal(Source((place,)), f"{where}, condition {condition!r}")
        given = [self._leaf(step, leaf, where) for leaf in step.leaves]
        if all(len(each) == 1 for each in given):
            (name,) = given[0]
            given = [{name: signal} for each in given for signal in each.values()]
        if any(each.keys() != given[0].keys() for each in given):
            raise UserError(
                f"{where}: its ways give other outputs each ({'; '.join(map(_listed, given))}); they have to give the same"
            )
        self.gives[step.name] = {name: _merged(step, name, [each[name] for each in given]) for name in given[0]}

    def signal(self, source: Source, where: str) -> Signal:
        """What arrives from a source. Raises `UnknownName` for a place that is none."""
        if not source.places:
            return signal_of(source.value, where)
        found = [self._at(place, where) for place in source.places]
        if any(once(each) != once(found[0]) for each in found):
            raise UserError(
                f"{where}: {source} are of several types ({', '.join(map(str, found))}); they have to be alike"
            )
        return next((each for each in found if each.timed), found[0])

    def _at(self, place: Place, where: str) -> Signal:
        if place.step == REQUEST:
            if place.output not in self.inputs:
                raise UserError(
                    f"{where}: nobody knows the type of {place}, which no model reads by itself; write [inputs] with {place.output} = "
                    '"BYTES" for a text, or {datatype = "FP32", shape = […]}'
                )
            return self.inputs[place.output]
        given = self.gives[place.step]
        if not place.output and len(given) == 1:
            return next(iter(given.values()))
        if place.output not in given:
            raise UnknownName(f"{where}: {UnknownName.among(f'output of step {place.step!r}', place.output, given)}")
        return given[place.output]

    def _leaf(self, step: Step, leaf: Leaf, where: str) -> dict[str, Signal]:
        if isinstance(leaf, Ask) and not leaf.templates:
            return self._asked(step, self._models[leaf.model], f"{where} (model {leaf.model!r})")
        inputs = {name: self.signal(source, f"{where}, input {name!r}") for name, source in step.inputs.items()}
        try:
            if isinstance(leaf, Compute):
                return {leaf.function.name: leaf.function.signal(inputs)}
            for template in leaf.templates:
                check_template(template, inputs)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        _check_language(self._models[leaf.model], f"{where} (model {leaf.model!r})")
        if leaf.embed:
            return {VECTOR: Signal((-1,), Kind.VALUE, Clock.REQUEST)}
        return {TEXT: Signal((), Kind.BYTES, Clock.RUNNING)}

    def _asked(self, step: Step, model: Graph, where: str) -> dict[str, Signal]:
        if any(isinstance(each, LanguageModel) for each in model.operators.values()):
            raise UserError(f"{where} is a language model: give it a prompt, a chat, or a text to embed")
        sources = named(step.inputs, model)
        missing = [name for name in model.inputs if name not in sources]
        more = [name for name in sources if name not in model.inputs]
        if missing or more:
            told = [f"misses {missing}"] * bool(missing) + [f"is given {more}, which it does not take"] * bool(more)
            raise UserError(f"{where} {' and '.join(told)}; its inputs are {sorted(model.inputs)}")
        for name, wanted in model.inputs.items():
            self._check(sources[name], wanted, f"{where}, input {name!r}")
        return model.output_signals()

    def _check(self, source: Source, wanted: Signal, where: str) -> None:
        """That the source fits the model's input."""
        if not source.places:
            check_fits(signal_of(source.value, where), wanted, where)
        for place in source.places:
            check_fits(self._at(place, where), wanted, f"{where}, from {place}")

    def _note(self, step: Step, model: Graph) -> None:
        """An input of the request is of the type that the first model takes which reads it."""
        for name, source in named(step.inputs, model).items():
            for place in source.places:
                if place.step == REQUEST and name in model.inputs:
                    self.inputs.setdefault(place.output, model.inputs[name])


_T = TypeVar("_T")


def named(inputs: Mapping[str, _T], model: Graph) -> Mapping[str, _T]:
    """A step's inputs by the model's names for them: where both have a single one, it is that one, whatever it is called."""
    return dict(zip(model.inputs, inputs.values(), strict=True)) if len(inputs) == len(model.inputs) == 1 else inputs


def _merged(step: Step, output: str, given: list[Signal]) -> Signal:
    """What a step gives of several ways, or of a vote."""
    where = f"step {step.name!r}, output {output!r}"
    if isinstance(step.does, Ensemble):
        try:
            merged: Signal = FUNCTIONS[step.does.vote]().signal({str(n): each for n, each in enumerate(given)})
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        return merged
    if any(each != given[0] for each in given):
        raise UserError(
            f"{where} is {', or '.join(map(str, dict.fromkeys(given)))}; all ways have to give the same type"
        )
    return given[0]


def _check_language(model: Graph, where: str) -> None:
    if not any(isinstance(each, LanguageModel) for each in model.operators.values()):
        raise UserError(
            f"{where} is no language model: it takes no prompt, chat or text to embed, but {_listed(model.inputs)}"
        )


def _listed(signals: Signals) -> str:
    return ", ".join(f"{name} ({signal})" for name, signal in signals.items())


def _parts_samples(step: Step) -> bool:
    """Whether samples of one request may go different ways, or are told in a text each."""
    return (
        bool(step.conditions)
        or not isinstance(step.does, (Ask, Compute, Ensemble))
        or any(leaf.templates if isinstance(leaf, Ask) else leaf.function.by_sample for leaf in step.leaves)
    )


def _steps_of(source: Source) -> tuple[str, ...]:
    return tuple(place.step for place in source.places)


def _streaming(chain: Chain, joining: _Joining) -> str:
    """The step whose answer is given as it forms: the last of those that answer over time, unless another step reads it."""
    read = {name for step in chain.steps for name in needs(step)}
    leaving = {name for source in chain.outputs.values() for name in _steps_of(source)}
    timed = [
        step.name
        for step in chain.steps
        if step.name in leaving - read
        and any(each.timed for each in joining.gives[step.name].values())
        and isinstance(step.does, (Ask, Switch))
    ]
    return timed[-1] if timed else ""
