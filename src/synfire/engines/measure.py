"""Measures what a model's operators cost on this machine, for the planner."""

from __future__ import annotations

import hashlib
import itertools
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from synfire.base import paths
from synfire.devices import DEVICES
from synfire.engines.engine import Engine, Program
from synfire.engines.profiles.cache import keep, recalled
from synfire.engines.samples import FEW, Source, count_of, part_of, steps_of
from synfire.engines.version import engines_version
from synfire.graph import Graph, Synapse, flatten
from synfire.ops import Array, Clock, Kind, Signal
from synfire.ops.mean_rate import MeanRate
from synfire.plan import Costs, atoms, stage_graph
from synfire.plan.cut import join

REPEATS = 7
PAUSE_S = 0.5e-3
"""How long a worker has slept when a frame wakes it, by and large."""
CACHE_BYTES = 4 << 20
"""What others write meanwhile: more than the cache that a core of today has for itself."""
Build = Callable[[Graph], Program]
"""Gives a graph's program."""

METHOD = "prefixes, cold; calls warm; densities of several requests"
"""Numbers that were found in another way are measured again."""


def measured(graph: Graph, engine: Engine, source: Source, threads: int = 1) -> Costs:
    """`measure` on the source's first samples, remembered in `SYNFIRE_CACHE` by the graph's content, the engine and its version, the
    samples, the threads and the processor."""
    flat = flatten(graph)
    device = DEVICES["cpu"].describe()
    who = [engine.name, engines_version(), device.model, *device.features]
    key = "\n".join([METHOD, flat.content_digest(), *flat.operators, *who, source.digest])
    key += f"\n{threads} threads" if threads > 1 else ""
    file = paths.cache() / "costs" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    known = recalled(file, Costs)
    if known is None:
        known = measure(flat, engine, source.read(FEW).inputs, threads)
        keep(file, known)
    return known


def measure(graph: Graph, engine: Engine, sample: Mapping[str, Array], threads: int = 1) -> Costs:
    """What each operator adds to the program of all operators before it, on one request, and what the whole takes.

    `sample` is that request, or several side by side: times are of the first, densities and payloads of all.

    Operators are compiled together, so one by itself would be charged for what its neighbours save it. The whole is run
    as a request finds it: on a core that slept, with caches that others have filled. That is shared out
    as the growing programs tell, which run again and again. Programs are granted so many `threads`.
    """
    flat, built = flatten(graph), partial(_granted, engine, threads)
    steps = flat.steps or steps_of(flat, sample)
    requests = [part_of(flat, sample, slice(k, k + 1)) for k in range(count_of(flat, sample))]
    everything = Graph(flat.operators, flat.synapses, flat.inputs, {name: name for name in flat.order()})
    density, payload = _contents(flat, built(everything), requests, steps)
    call_s = min(_times(*_entry(built), REPEATS))
    whole = built(flat)
    whole_s = max(cold_s(whole, requests[0], steps) - call_s, 0.0)
    return Costs(
        operator_s={name: share * whole_s for name, share in _shares(flat, built, requests[0], steps, call_s).items()},
        density=density,
        payload=payload,
        steps=steps,
        call_s=call_s,
        threads=threads,
        calls=whole.calls,
    )


def _contents(
    flat: Graph, program: Program, requests: Sequence[Mapping[str, Array]], steps: int
) -> tuple[dict[str, float], dict[str, float]]:
    """How dense each signal is, and how many bytes those take whose shape does not tell: means of the requests."""
    sized = [name for name, signal in flat.signals().items() if signal.size < 0 or signal.kind is Kind.BYTES]
    density, payload = (defaultdict[str, list[float]](list) for _ in range(2))
    for request in requests:
        seen = {**request, **_run(program, request, steps)}
        for name, array in seen.items():
            density[name].append(_density(array))
        for name in sized:
            payload[name].append(_payload(seen[name]))
    return _means(density), _means(payload)


def _means(found: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {name: statistics.fmean(each) for name, each in found.items()}


def _granted(engine: Engine, threads: int, graph: Graph) -> Program:
    program = engine.build(graph)
    program.grant(threads)
    return program


def cold_s(program: Program, inputs: Mapping[str, Array], steps: int) -> float:
    """The median time of a request that wakes a sleeping worker, after others have used the processor's caches."""
    others = np.zeros(CACHE_BYTES, np.uint8)

    def before() -> None:
        np.add(others, 1, out=others)
        time.sleep(PAUSE_S)

    return statistics.median(_times(program, inputs, steps, 2 * REPEATS, before))


def _shares(flat: Graph, built: Build, sample: Mapping[str, Array], steps: int, call_s: float) -> dict[str, float]:
    """What part of the whole each operator is: by how much the program grows with it. Operators of a cycle share theirs.

    A program that ends before a fused pair is whole may take longer than one with the pair; then the first of them takes less.
    """
    groups = atoms(flat)
    growing = [join(groups[: k + 1]) for k in range(len(groups))]
    times = [call_s, *(_prefix_s(flat, each, built, sample, steps) for each in growing)]
    least = list(itertools.accumulate(reversed(times), min))[::-1]
    grown = [after - before for before, after in itertools.pairwise(least)]
    total_s = sum(grown) or 1.0
    return {name: own_s / total_s / len(group) for group, own_s in zip(groups, grown, strict=True) for name in group}


def _prefix_s(flat: Graph, operators: tuple[str, ...], built: Build, sample: Mapping[str, Array], steps: int) -> float:
    """The least time of the program that ends behind these operators: what disturbs it only adds."""
    part = stage_graph(flat, operators)
    return min(_times(built(part), {name: sample[name] for name in part.inputs}, steps, REPEATS))


def _entry(built: Build) -> tuple[Program, dict[str, Array], int]:
    """A program that has next to nothing to do, with its inputs and time steps: its time is the price of a call."""
    value = Signal((1,), Kind.VALUE, Clock.STEP)
    graph = Graph({"rate": MeanRate()}, (Synapse("x", "rate"),), {"x": value}, {"y": "rate"})
    return built(graph), {"x": np.zeros((1, 1, 1), np.float32)}, 1


def _run(program: Program, inputs: Mapping[str, Array], steps: int) -> dict[str, Array]:
    return program.run(program.initial_state(1), inputs, steps)[1]


def _times(
    program: Program,
    inputs: Mapping[str, Array],
    steps: int,
    repeats: int,
    before: Callable[[], None] = lambda: None,
) -> list[float]:
    """Seconds of each run after the first, which compiles, loads and fills caches; `before` each of them comes something else."""
    times = []
    for _ in range(1 + repeats):
        before()
        start = time.perf_counter()
        _run(program, inputs, steps)
        times.append(time.perf_counter() - start)
    return times[1:]


def _density(array: Array) -> float:
    if array.dtype == object or not array.size:
        return 1.0
    return float(np.count_nonzero(array) / array.size)


def _payload(array: Array) -> float:
    """Bytes of one request's files or rows."""
    if array.dtype == object:
        return sum(len(each) for each in array.ravel()) / len(array)
    return array.nbytes / len(array)
