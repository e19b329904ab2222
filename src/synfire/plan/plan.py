"""Which stage runs where, and the links between them: frozen data."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from synfire.base.errors import UserError
from synfire.devices import Cores
from synfire.graph import Graph, Synapse

GATEWAY = "gateway"
"""The name under which the gateway stands among the stages: it sends inputs and receives outputs."""


IDLE_S = 300.0
"""For how long nobody has called a stage that may sleep when it does, in seconds, where nobody says."""

MOST_RATE = 1e6
"""Requests a second that a model can be asked to bear. No chip bears so many, and a number with too many zeros is found."""


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """Operators that are compiled and run together, by their names in the model's flat graph.

    `engine` is set where it is another than the plan's. `memory_bytes` is what the stage is expected to hold, `busy_s` for how
    many seconds a request of one sample keeps its worker busy; both are 0 where nobody has predicted it. `cores` are what it takes of
    the device that it was planned for, where these are counted, and `events` those that a request of one sample brings it there.
    `parts` are the stages of the cut that are joined in it, in order, where they are several: between them it can be split again.

    A stage that runs in several places is there several times, as replicas, each with a name, a worker and links of its own; all but
    the first have its name in `replica_of`. A request goes through one of them, and `busy_s` and `events` are the
    share of each. There are to be from `least` to `most`, as its work takes; where the `least` is 0 it sleeps when nobody has called its model for `idle_s` seconds.
    """

    name: str
    operators: tuple[str, ...]
    worker: str
    engine: str = ""
    memory_bytes: int = 0
    busy_s: float = 0.0
    cores: Cores | None = None
    events: float = 0.0
    parts: tuple[Stage, ...] = ()
    replica_of: str = ""
    least: int = 1
    most: int = 1
    idle_s: float = IDLE_S

    @property
    def original(self) -> str:
        """The stage whose replica this is, or its own name."""
        return self.replica_of or self.name

    @property
    def may_sleep(self) -> bool:
        """Whether it may be on no worker."""
        return self.least < 1


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """Carries the signal `source` (an operator's or a graph input's name) from one stage to the next.

    `sender` and `receiver` are stage names or `GATEWAY`. `bytes_per_step` is the estimate that the cut was judged by:
    one sample, one time step, as encoded on the wire. `busy_s` is for how many seconds a request keeps each end busy with it
    where these are two workers.
    """

    source: str
    sender: str
    receiver: str
    bytes_per_step: float = 0.0
    busy_s: float = 0.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One model, cut and placed. `reasons` says in words why it was cut and placed so.

    `frame_steps` is how many time steps travel in one frame. `latency_s` is the predicted time of one request alone,
    `requests_s` how many a second the busiest worker allows, and `rate` how many it is to bear, 0 where nobody says. `seams`
    are the links of the cut before any of its stages were joined, if some were: a stage without parts is one of that cut.
    """

    model: str
    granularity: str
    stages: tuple[Stage, ...]
    links: tuple[Link, ...]
    frame_steps: int
    engine: str = "cpu"
    latency_s: float = 0.0
    requests_s: float = 0.0
    rate: float = 0.0
    reasons: tuple[str, ...] = ()
    seams: tuple[Link, ...] = ()

    @property
    def workers(self) -> tuple[str, ...]:
        """The workers in use, in order of first use."""
        return tuple(dict.fromkeys(stage.worker for stage in self.stages))

    def stage(self, name: str) -> Stage:
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise UserError(f"plan of {self.model!r} has no stage {name!r}; it has {[s.name for s in self.stages]}")

    def engine_of(self, stage: Stage) -> str:
        """The engine that runs a stage."""
        return stage.engine or self.engine

    def need(self, stage: Stage) -> Cores | None:
        """What a stage takes of the device that it was planned for: its cores, and the events a second that the plan's rate brings it."""
        if stage.cores is None or not self.rate:
            return stage.cores
        return Cores(stage.cores.total, stage.cores.large, math.ceil(round(self.rate * stage.events / 1000, 6)))

    def to_json(self) -> dict[str, Any]:
        return msgspec.to_builtins(self)


def stage_graph(graph: Graph, operators: tuple[str, ...]) -> Graph:
    """The subgraph of a flat `graph` that holds `operators`.

    Its inputs and outputs are called after the operators or inputs of the whole graph whose signals cross the cut, so
    frames can name a signal in the same way on both sides.
    """
    inside = set(operators)
    signals = graph.signals()
    synapses = tuple(s for s in graph.synapses if s.target in inside)
    entering = sorted({s.source for s in synapses} - inside, key=[*graph.inputs, *graph.order()].index)
    cyclic = any(s.delay_steps for s in graph.synapses)
    for s in graph.synapses if cyclic else ():
        if s.source in graph.operators and (s.source in inside) != (s.target in inside) and _closes_cycle(graph, s):
            raise UserError(f"the cut would part the cycle at {s.source} → {s.target}; keep cycles inside a stage")
    leaving = {s.source for s in graph.synapses if s.source in inside and s.target not in inside}
    leaving |= {source for source in graph.outputs.values() if source in inside}
    return Graph(
        {name: graph.operators[name] for name in graph.order() if name in inside},
        tuple(Synapse(s.source, s.target, s.port, s.delay_steps) for s in synapses),
        {source: signals[source] for source in entering},
        {name: name for name in graph.order() if name in leaving},
    )


def _closes_cycle(graph: Graph, synapse: Synapse) -> bool:
    """Whether the synapse's source can be reached from its target."""
    seen, pending = set(), [synapse.target]
    while pending:
        name = pending.pop()
        if name not in seen:
            seen.add(name)
            pending += [s.target for s in graph.leaving(name)]
    return synapse.source in seen
