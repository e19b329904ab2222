"""From a stage's graph to a network of populations, or the reasons why not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from synfire.base.errors import Bug, UserError
from synfire.devices.darwin3.dynamics import is_neuron, neuron
from synfire.devices.darwin3.ir import (
    CLOCK,
    GATE,
    READOUT,
    Convolution,
    Form,
    Full,
    Layout,
    Network,
    Output,
    Population,
    Projection,
    Sparse,
    countable,
)
from synfire.devices.darwin3.maps import linear_map, window_rows
from synfire.devices.darwin3.refusals import MAX_POOLS, refusals
from synfire.devices.darwin3.rows import Rows, compose, dense_rows, distinct, from_triples, identity
from synfire.devices.darwin3.timing import timed
from synfire.graph import Graph
from synfire.ops import Array, Kind, Operator, Signal
from synfire.ops.add import Add
from synfire.ops.conv1d import Conv1d
from synfire.ops.conv2d import Conv2d
from synfire.ops.linear import Linear

OR = "max-pool-or: a maximum of spikes is a layer of OR neurons (exact, one step of latency)"
FOLDED = "average-pool-fold: an average's spikes share a place in the next layer's window (exact)"
ROUNDING = 1e-4
"""A decay this near to a multiple of 1/256 is that multiple, written in float32."""

Q8 = "decay-q8: the share of the membrane that a step keeps is rounded to 1/256"


def lower(graph: Graph) -> Network:
    """The network of a flat, simplified graph whose inputs are spikes or counts per step.

    Pooling and convolution or linear layers in a row become one projection, neurons and maximum pools become
    populations, value outputs become populations that only add up. Where one path is shorter than another, delay
    populations make it as long (see `timing`). Raises `UserError` naming what the crossbar cannot do.
    """
    refused = refusals(graph)
    if refused:
        name, reason = next(iter(refused.items()))
        more = f" (and {len(refused) - 1} more operators)" if len(refused) > 1 else ""
        raise UserError(f"darwin3 cannot run operator {name!r}: {reason}{more}; place it on cpu")
    return timed(_Lowering(graph).network())


@dataclass(frozen=True, eq=False)
class _Term:
    """What one source contributes to a signal, `delay_steps` later.

    Without a form the signal's elements are the source's own, moved to `place`, times `gain`; `pixels` of them make a map.
    """

    source: str
    delay_steps: int
    place: Array
    pixels: int
    size: int
    gain: float = 1.0
    form: Form | None = None
    convolved: tuple[_Term, Operator, Signal] | None = None

    @property
    def rows(self) -> Rows:
        """The contribution as a matrix: from the form's inputs for synapse lists and full matrices, else from the source's."""
        if isinstance(self.form, Sparse):
            return self.form.rows
        if isinstance(self.form, Full):
            return dense_rows(self.form.weight.T)
        if self.convolved is not None:
            before, operator, signal = self.convolved
            return compose(before.rows, _rows(operator, signal, before))
        moved = np.flatnonzero(self.place >= 0)
        return from_triples(len(self.place), self.size, moved, self.place[moved], np.full(len(moved), self.gain))

    def listed(self, rows: Rows) -> _Term:
        """The contribution after a further matrix, for which there is no better form than synapse lists."""
        made = compose(self.rows, rows)
        if self.source == CLOCK:
            return replace(self, form=Full(made.dense().T, 1), size=rows.width)
        to, kept = distinct(made)
        placed = isinstance(self.form, Sparse | Full)
        place = np.where(self.place < 0, -1, to[self.place]) if placed else to
        return replace(self, place=place, form=Sparse(kept), size=rows.width, pixels=1, gain=1.0, convolved=None)


class _Lowering:
    """Writes every spiking signal as a population and every other one as a sum of contributions of spiking ones."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.signals = graph.signals()
        self.populations: dict[str, Population] = {}
        self.projections: list[Projection] = []
        self.approximations: set[str] = set()
        self._sums: dict[str, list[_Term]] = {}

    def network(self) -> Network:
        for name in self.graph.order():
            if self._spiking(name):
                self._populate(name)
        outputs = {output: self._output(source) for output, source in self.graph.outputs.items()}
        read = {each.source for each in self.projections}
        inputs = {name: signal.size for name, signal in self.graph.inputs.items() if name in read}
        return Network(inputs, self.populations, tuple(self.projections), outputs, tuple(sorted(self.approximations)))

    def _spiking(self, name: str) -> bool:
        operator = self.graph.operator(name)
        return is_neuron(operator) or isinstance(operator, MAX_POOLS)

    def _populate(self, name: str) -> None:
        operator, shape = self.graph.operator(name), self.signals[name].shape
        (synapse,) = self.graph.arriving(name)
        terms = self._arriving(synapse.source, synapse.delay_steps)
        if isinstance(operator, MAX_POOLS):
            self.approximations.add(OR)
            seen = [_seen(operator, each, self.signals[synapse.source]) for each in terms]
            self._add(Population(name, shape, GATE, np.ones(1)), seen, 1.0)
            return
        made = neuron(operator)
        if abs(round(made.dynamics.keep * 256) - made.dynamics.keep * 256) > ROUNDING:
            self.approximations.add(Q8)
        thresholds = np.broadcast_to(made.threshold, shape).ravel() if made.threshold.ndim else made.threshold.ravel()
        self._add(Population(name, shape, made.dynamics, thresholds), terms, made.gain)

    def _add(self, population: Population, terms: Iterable[_Term], gain: float) -> None:
        self.populations[population.name] = population
        for each in terms:
            form = (each.form or _one_to_one(population, each.gain)).gained(gain)
            self.projections.append(Projection(each.source, population.name, each.place, form, each.delay_steps))

    def _arriving(self, source: str, delay_steps: int) -> list[_Term]:
        return [replace(each, delay_steps=each.delay_steps + delay_steps) for each in self._sum(source)]

    def _sum(self, name: str) -> list[_Term]:
        """The signal as a sum of contributions."""
        if name not in self._sums:
            self._sums[name] = self._summed(name)
        return self._sums[name]

    def _summed(self, name: str) -> list[_Term]:
        signal = self.signals[name]
        if name in self.graph.inputs or self._spiking(name):
            return [_Term(name, 0, np.arange(signal.size), Layout.of(signal.shape).pixels, signal.size)]
        operator, arriving = self.graph.operator(name), self.graph.arriving(name)
        if not isinstance(operator, Add):
            return self._mapped(operator, name)
        return [
            _stretched(each, source, signal)
            for s, source in zip(arriving, self.graph.signals_into(name), strict=True)
            for each in self._arriving(s.source, s.delay_steps)
        ]

    def _mapped(self, operator: Operator, name: str) -> list[_Term]:
        (synapse,) = self.graph.arriving(name)
        signal = self.signals[synapse.source]
        terms = [self._then(operator, signal, each) for each in self._arriving(synapse.source, synapse.delay_steps)]
        bias = getattr(operator, "bias", None)
        if bias is None or not np.any(bias):
            return terms
        each = np.asarray(bias, np.float64)
        repeated = np.repeat(each, self.signals[name].size // len(each))
        if isinstance(operator, Linear):
            repeated = np.tile(each, self.signals[name].size // len(each))
        return [*terms, _Term(CLOCK, 0, np.zeros(1, np.int64), 1, len(repeated), form=Full(repeated[:, None], 1))]

    def _then(self, operator: Operator, signal: Signal, term: _Term) -> _Term:
        """What the operator makes of a contribution to its input."""
        form = _form(operator, signal, term) if term.form is None else None
        if form is not None:
            size = operator.infer(signal).size
            return replace(term, form=form.gained(term.gain), gain=1.0, size=size, convolved=(term, operator, signal))
        rows = _rows(operator, signal, term)
        weights = np.unique(rows.weights)
        if term.form is None and len(weights) == 1 and rows.lengths.max(initial=0) <= 1:
            return self._moved(term, rows, float(weights[0]), operator.infer(signal))
        return term.listed(rows)

    def _moved(self, term: _Term, rows: Rows, weight: float, out: Signal) -> _Term:
        """Every element goes to one place at most, and all alike: pooling without overlap, slices, other orders."""
        if weight != 1:
            self.approximations.add(FOLDED)
        to = np.full(len(rows) + 1, -1)
        to[rows.of_row] = rows.targets
        pixels = Layout.of(out.shape).pixels if len(out.shape) > 1 else term.pixels
        pixels = pixels if out.size % pixels == 0 else out.size
        return replace(term, place=to[term.place], pixels=pixels, size=out.size, gain=term.gain * weight)

    def _output(self, source: str) -> Output:
        signal, terms = self.signals[source], self._sum(source)
        counted = signal.kind is not Kind.VALUE and all(_counted(each, self.populations) for each in terms)
        if counted:
            return Output(tuple((each.source, each.rows) for each in terms), signal)
        name = f"{source}:readout"
        if name not in self.populations:
            self._add(Population(name, signal.shape, READOUT, np.full(1, np.inf)), terms, 1.0)
        return Output(((name, identity(signal.size)),), signal, membrane=True)


def _counted(term: _Term, populations: Any) -> bool:
    return term.form is None and term.gain == 1 and not term.delay_steps and term.source in populations


def _one_to_one(population: Population, gain: float) -> Form:
    """A synapse from each element to its own neuron. Neurons of a vector each have a scale, so no kernel slides along it."""
    if len(population.shape) < 2 and not population.dynamics.whole:
        rows = identity(population.size)
        return Sparse(rows.transformed(rows.weights * gain))
    layout = population.layout
    weight = np.full((layout.channels, 1, 1, 1), gain)
    return Convolution(weight, (layout.height, layout.width), groups=layout.channels)


def _form(operator: Operator, signal: Signal, term: _Term) -> Form | None:
    """The operator as a convolution or a full matrix over the contribution's own elements."""
    if isinstance(operator, Conv2d):
        top, _, left, _ = operator.padding
        weight = operator.weight.astype(np.float64)
        size = (signal.shape[1], signal.shape[2])
        return Convolution(weight, size, operator.stride, operator.dilation, (top, left), operator.groups)
    if isinstance(operator, Conv1d):
        weight = operator.weight.astype(np.float64)[:, :, None]
        steps = (1, operator.stride), (1, operator.dilation), (0, operator.padding[0])
        return Convolution(weight, (1, signal.shape[1]), *steps, operator.groups)
    if isinstance(operator, Linear) and len(signal.shape) == 1:
        return Full(operator.weight.astype(np.float64), countable(term.pixels))
    return None


def _rows(operator: Operator, signal: Signal, term: _Term) -> Rows:
    found = linear_map(operator, signal)
    if found is None:
        raise Bug(f"{operator.kind} after {term.source!r} passed darwin3's refusals, but no matrix is known for it")
    return found


def _seen(operator: Any, term: _Term, signal: Signal) -> _Term:
    """A maximum pool over spikes: every neuron looks at its window, channel by channel."""
    if term.form is not None:
        return term.listed(window_rows(operator, signal))
    channels, *sizes = signal.shape
    height, width = (1, *sizes)[-2:]
    weight = np.ones((channels, 1, *_pair(operator.kernel)))
    top, left = (0, *operator.padding[::2])[-2:]
    stride, dilation = _pair(operator.stride), _pair(getattr(operator, "dilation", (1, 1)))
    return replace(term, form=Convolution(weight, (height, width), stride, dilation, (top, left), channels))


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    return (1, values[0]) if len(values) == 1 else (values[0], values[1])


def _stretched(term: _Term, signal: Signal, out: Signal) -> _Term:
    """A summand whose axes of size 1 reach every element of the sum."""
    if signal.size == out.size:
        return term
    source = np.broadcast_to(np.arange(signal.size).reshape(signal.shape), out.shape).ravel()
    rows = from_triples(signal.size, out.size, source, np.arange(out.size), np.ones(out.size))
    return term.listed(rows)
