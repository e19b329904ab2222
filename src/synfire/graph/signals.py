"""The signal that every operator of a graph emits, from those that the graph takes.

Where signals go round, an operator waits for itself. It is then first taken to receive, along the delayed synapses of its
cycle, what its other ports carry, or, where all its ports are such, a signal that is known elsewhere or fits its weights.
When all is known, every such assumption is looked at again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from synfire.base.errors import UserError
from synfire.graph.components import strong_components
from synfire.ops import Clock, Operator, Signal

if TYPE_CHECKING:
    from synfire.graph.graph import Graph, Synapse


def signals_of(graph: Graph) -> dict[str, Signal]:
    """The signal that each input and operator emits, by name (`sub/out` for nested outputs). Raises `UserError`."""
    sources = {name: [_head(s.source) for s in graph.arriving(name)] for name in graph.operators}
    cycles = {name: members for members in strong_components(sources) for name in members}
    return _settled(graph, _complete(graph, cycles, dict(graph.inputs), list(graph.order())))


def _complete(
    graph: Graph, cycles: Mapping[str, frozenset[str]], signals: dict[str, Signal], pending: list[str]
) -> dict[str, Signal]:
    while pending:
        left = [name for name in pending if not _infer_one(graph, name, signals)]
        if left == pending:
            assumed = next((name for name in pending if _assume_one(graph, cycles[name], name, signals)), None)
            if assumed is None:
                return _guess(graph, cycles, signals, pending)
            left.remove(assumed)
        pending = left
    for s in graph.synapses:
        _check_delayed(graph, s, signals)
    return signals


def _guess(
    graph: Graph, cycles: Mapping[str, frozenset[str]], signals: dict[str, Signal], pending: list[str]
) -> dict[str, Signal]:
    """A cycle in which only delayed synapses reach some operator: it is taken to receive a signal that is known elsewhere,
    or as many values as its weight matrix takes, and the rest of the cycle must agree."""
    for name in pending:
        each, arriving = graph.operators[name], graph.arriving(name)
        if not isinstance(each, Operator) or any(not s.delay_steps and s.source not in signals for s in arriving):
            continue
        stated = [Signal(array.shape[-1:]) for array in each.parameters().values() if array.ndim == 2]
        for candidate in [*stated, *reversed(dict.fromkeys(signals.values()))]:
            try:
                guess = each.infer(*(signals.get(s.source, candidate) for s in arriving))
                others = [other for other in pending if other != name]
                return _complete(graph, cycles, signals | {name: guess}, others)
            except UserError:
                continue
    raise UserError(f"the shapes of {pending} depend on each other; state one of them (an input, or a weight matrix)")


def _infer_one(graph: Graph, name: str, signals: dict[str, Signal]) -> bool:
    """Note what the operator emits, where all that it receives is known."""
    arriving = [signals.get(s.source) for s in graph.arriving(name)]
    known = tuple(signal for signal in arriving if signal is not None)
    if len(known) == len(arriving):
        _note(graph, name, known, signals)
    return len(known) == len(arriving)


def _assume_one(graph: Graph, cycle: frozenset[str], name: str, signals: dict[str, Signal]) -> bool:
    """Note what the operator emits, if what comes back along delayed synapses of its own cycle is like its other ports."""
    arriving = graph.arriving(name)
    known = [signals[s.source] for s in arriving if s.source in signals]
    unknown = [s for s in arriving if s.source not in signals]
    if not known or not isinstance(graph.operators[name], Operator):
        return False
    if any(not s.delay_steps or _head(s.source) not in cycle for s in unknown):
        return False
    _note(graph, name, tuple(signals.get(s.source, known[0]) for s in arriving), signals)
    return True


def _note(graph: Graph, name: str, arriving: tuple[Signal, ...], signals: dict[str, Signal]) -> None:
    each = graph.operators[name]
    try:
        if isinstance(each, Operator):
            signals[name] = each.infer(*arriving)
            return
        _check_nested(name, each, arriving)
    except UserError as error:
        raise UserError(f"operator {name!r}: {error}") from error
    inner = each.output_signals()
    signals |= {f"{name}/{out}": signal for out, signal in inner.items()}
    if len(inner) == 1:
        signals[name] = next(iter(inner.values()))


def _check_nested(name: str, graph: Graph, arriving: tuple[Signal, ...]) -> None:
    for (port, wanted), got in zip(graph.inputs.items(), arriving, strict=True):
        if (wanted.shape, wanted.clock) != (got.shape, got.clock):
            raise UserError(f"input {port!r} of nested graph {name!r} is {wanted}, but {got} arrives; mend the shapes")


def _check_delayed(graph: Graph, synapse: Synapse, signals: dict[str, Signal]) -> None:
    each = graph.operators[synapse.target]
    if not synapse.delay_steps or not isinstance(each, Operator):
        return
    if signals[synapse.source].clock is not Clock.STEP:
        raise UserError(f"the delayed synapse {synapse.source} → {synapse.target} must carry a signal per step")
    try:
        again = each.infer(*(signals[s.source] for s in graph.arriving(synapse.target)))
    except UserError as error:
        raise UserError(f"operator {synapse.target!r}, fed back by {synapse.source!r}: {error}") from error
    if again.shape != signals[synapse.target].shape:
        raise UserError(f"the cycle through {synapse.source} → {synapse.target} does not keep its shape")


def _settled(graph: Graph, signals: dict[str, Signal]) -> dict[str, Signal]:
    """The signals with the kinds that go round: where values come back to a sum of spikes, it gives values.

    A kind only ever gives way to a wider one, so it takes at most as many rounds as there are operators.
    """
    if not any(s.delay_steps for s in graph.synapses):
        return signals
    for _ in range(len(graph.operators) + 2):
        before = dict(signals)
        for name in graph.order():
            _infer_one(graph, name, signals)
        if signals == before:
            return signals
    raise UserError("the signals that go round in the graph's cycles never settle; state their kinds otherwise")


def _head(source: str) -> str:
    return source.partition("/")[0]
