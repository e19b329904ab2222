"""Random small graphs, ways to cut and place them, and inputs for them: from a seed, so that a failure can be repeated."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from synfire.graph import Graph, Synapse
from synfire.ops import Array, Clock, Kind, Operator, Signal
from synfire.ops.add import Add
from synfire.ops.avg_pool2d import AvgPool2d
from synfire.ops.bernoulli import Bernoulli
from synfire.ops.constant_current import ConstantCurrent
from synfire.ops.conv2d import Conv2d
from synfire.ops.flatten import Flatten
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.ops.max_pool2d import MaxPool2d
from synfire.ops.mean_rate import MeanRate
from synfire.ops.scale import Scale
from synfire.plan.plan import GATEWAY, Link, Plan, Stage
from synfire.plan.replicas import replicated


class GraphBuilder:
    """Grows a graph operator by operator, keeping track of what each emits."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.operators: dict[str, Operator | Graph] = {}
        self.synapses: list[Synapse] = []
        self.inputs: dict[str, Signal] = {}
        self.signals: dict[str, Signal] = {}

    def input(self, signal: Signal) -> str:
        name = f"in{len(self.inputs)}"
        self.inputs[name] = self.signals[name] = signal
        return name

    def add(self, operator: Operator, *sources: str) -> str:
        """Add an operator that reads `sources`, and return its name."""
        name = f"{operator.kind.lower()}{len(self.operators)}"
        self.operators[name] = operator
        self.synapses += [Synapse(source, name, port) for port, source in enumerate(sources)]
        self.signals[name] = operator.infer(*(self.signals[source] for source in sources))
        return name

    def loop(self, source: str, target: str, port: int, delay_steps: int) -> None:
        """Feed `source` back into `target`."""
        self.synapses.append(Synapse(source, target, port, delay_steps))

    def build(self, outputs: Mapping[str, str]) -> Graph:
        return Graph(self.operators, tuple(self.synapses), self.inputs, outputs)

    def weights(self, *shape: int) -> Array:
        scale = 1.5 / np.sqrt(max(1, int(np.prod(shape[1:]))))
        return np.asarray(self.rng.normal(size=shape) * scale, np.float32)


def random_graph(seed: int) -> Graph:
    """A small graph of one to five layers: convolutions, linear layers, neurons, pools, residuals, recurrence.

    Some have several inputs (with or without encoders and pre-processing), some several outputs.
    """
    rng = np.random.default_rng(seed)
    builder = GraphBuilder(rng)
    steps = int(rng.integers(1, 8)) if rng.random() < 0.75 else 0
    branches = [_branch(builder, steps) for _ in range(int(rng.integers(1, 3)))]
    top = branches[0] if len(branches) == 1 else _join(builder, branches)
    for _ in range(int(rng.integers(0, 3))):
        top = _layer(builder, top)
    outputs = {"out": builder.add(MeanRate(), top)}
    if rng.random() < 0.3:
        outputs["spikes"] = top
    if rng.random() < 0.3:
        outputs["hidden"] = branches[-1]
    if rng.random() < 0.2:
        outputs["prepared"] = next((name for name, s in builder.signals.items() if not s.timed), top)
    return builder.build({name: source for name, source in outputs.items() if source not in builder.inputs})


def random_plan(graph: Graph, seed: int, workers: int = 3, model: str = "model", engine: str = "reference") -> Plan:
    """A random valid cut of a flat graph into consecutive groups, placed on up to `workers` workers."""
    rng = np.random.default_rng(seed)
    groups = _groups(graph, rng)
    placed = [f"w{int(rng.integers(0, workers))}" for _ in groups]
    frame_steps = int(rng.integers(1, 6))
    return plan_of(graph, groups, placed, frame_steps, model, engine)


def in_several_places(plan: Plan, seed: int, workers: int = 3) -> Plan:
    """The plan with up to so many replicas of some stages, each on a worker of its own."""
    rng = np.random.default_rng([seed, 1])
    places = [f"w{n}" for n in range(workers)]
    homes = {each.name: rng.permutation(places)[: int(rng.integers(1, workers + 1))] for each in plan.stages}
    return replicated(plan, {name: [str(each) for each in found] for name, found in homes.items()})


def plan_of(
    graph: Graph,
    groups: list[tuple[str, ...]],
    workers: list[str],
    frame_steps: int,
    model: str = "model",
    engine: str = "reference",
) -> Plan:
    """The plan that makes each group of operators of a flat graph a stage on the worker beside it."""
    home = {name: f"s{i}" for i, group in enumerate(groups) for name in group} | dict.fromkeys(graph.inputs, GATEWAY)
    crossing = {(s.source, home[s.source], home[s.target]) for s in graph.synapses if home[s.source] != home[s.target]}
    crossing |= {(source, home[source], GATEWAY) for source in graph.outputs.values() if source not in graph.inputs}
    return Plan(
        model=model,
        granularity="random",
        stages=tuple(
            Stage(name=f"s{i}", operators=group, worker=worker)
            for i, (group, worker) in enumerate(zip(groups, workers, strict=True))
        ),
        links=tuple(Link(source=a, sender=b, receiver=c) for a, b, c in sorted(crossing)),
        frame_steps=frame_steps,
        engine=engine,
    )


def random_inputs(graph: Graph, seed: int, batch: int, steps: int) -> dict[str, Array]:
    """Inputs for one call; `steps` counts where the graph has timed inputs and no encoder that says otherwise."""
    rng = np.random.default_rng(seed)
    total = graph.steps or steps
    return {
        name: _numbers(rng, signal, (total, batch) if signal.timed else (batch,))
        for name, signal in graph.inputs.items()
    }


def _branch(builder: GraphBuilder, steps: int) -> str:
    rng = builder.rng
    image = rng.random() < 0.5
    shape = (int(rng.integers(1, 3)), 4, 4) if image else (int(rng.integers(2, 7)),)
    if steps and rng.random() < 0.7:
        top = builder.input(Signal(shape, Kind.VALUE, Clock.REQUEST))
        if rng.random() < 0.4:
            top = builder.add(Scale(0.75), top)
        encoder = (
            ConstantCurrent(steps=steps) if rng.random() < 0.6 else Bernoulli(steps=steps, seed=int(rng.integers(9)))
        )
        top = builder.add(encoder, top)
    else:
        top = builder.input(Signal(shape, Kind.SPIKE if rng.random() < 0.5 else Kind.VALUE, Clock.STEP))
    for _ in range(int(rng.integers(1, 4))):
        top = _layer(builder, top)
    return top


def _layer(builder: GraphBuilder, top: str) -> str:
    shape = builder.signals[top].shape
    choices = [_linear_layer, _recurrent_layer] if len(shape) == 1 else [_conv_layer, _conv_layer, _pool, _flatten]
    return choices[int(builder.rng.integers(len(choices)))](builder, top)


def _neuron(builder: GraphBuilder, top: str) -> str:
    rng = builder.rng
    reset = "hard" if rng.random() < 0.5 else "soft"
    return builder.add(
        LIF(threshold=float(rng.uniform(0.2, 0.8)), decay_input=bool(rng.random() < 0.5), reset=reset), top
    )


def _linear_layer(builder: GraphBuilder, top: str) -> str:
    (size,) = builder.signals[top].shape
    width = int(builder.rng.integers(2, 9))
    return _neuron(builder, builder.add(Linear(builder.weights(width, size), builder.weights(width)), top))


def _recurrent_layer(builder: GraphBuilder, top: str) -> str:
    """Spikes come back through a linear layer, one or two steps later."""
    (size,) = builder.signals[top].shape
    width = int(builder.rng.integers(2, 6))
    current = builder.add(Linear(builder.weights(width, size), builder.weights(width)), top)
    back = f"back{len(builder.operators)}"
    builder.operators[back] = Linear(builder.weights(width, width), builder.weights(width))
    builder.signals[back] = builder.signals[current]
    spikes = _neuron(builder, builder.add(Add(), current, back))
    builder.loop(spikes, back, 0, int(builder.rng.integers(1, 3)))
    return spikes


def _conv_layer(builder: GraphBuilder, top: str) -> str:
    channels = builder.signals[top].shape[0]
    residual = builder.rng.random() < 0.4
    width = channels if residual else int(builder.rng.integers(1, 4))
    weight = builder.weights(width, channels, 3, 3)
    spikes = _neuron(builder, builder.add(Conv2d(weight, builder.weights(width), padding=(1, 1, 1, 1)), top))
    return builder.add(Add(), spikes, top) if residual else spikes


def _pool(builder: GraphBuilder, top: str) -> str:
    if builder.signals[top].shape[-1] < 2:
        return _flatten(builder, top)
    pool = MaxPool2d if builder.rng.random() < 0.5 else AvgPool2d
    return builder.add(pool(kernel=(2, 2), stride=(2, 2)), top)


def _flatten(builder: GraphBuilder, top: str) -> str:
    return builder.add(Flatten(), top)


def _join(builder: GraphBuilder, branches: list[str]) -> str:
    flat = [name if len(builder.signals[name].shape) == 1 else _flatten(builder, name) for name in branches]
    width = int(builder.rng.integers(2, 6))
    currents = [
        builder.add(Linear(builder.weights(width, builder.signals[name].size), builder.weights(width)), name)
        for name in flat
    ]
    return _neuron(builder, builder.add(Add(), *currents))


def _groups(graph: Graph, rng: np.random.Generator) -> list[tuple[str, ...]]:
    order = list(graph.order())
    position = {name: i for i, name in enumerate(order)}
    starts = {0}
    for i in range(1, len(order)):
        closed = not any(
            s.delay_steps
            and s.source in position
            and min(position[s.source], position[s.target]) < i <= max(position[s.source], position[s.target])
            for s in graph.synapses
        )
        if closed and rng.random() < 0.5:
            starts.add(i)
    bounds = [*sorted(starts), len(order)]
    return [tuple(order[a:b]) for a, b in pairwise(bounds)]


def _numbers(rng: np.random.Generator, signal: Signal, lead: tuple[int, ...]) -> Array:
    if signal.kind is Kind.SPIKE:
        return (rng.random((*lead, *signal.shape)) < rng.random()).astype(np.uint8)
    return rng.uniform(-0.5, 1.5, (*lead, *signal.shape)).astype(np.float32)
