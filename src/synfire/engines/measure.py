"""Measures what a model's operators cost on this machine, for the planner."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np

from synfire.base import paths
from synfire.base.log import LOGGER
from synfire.devices import DEVICES
from synfire.engines.engine import Engine, Program
from synfire.graph import Graph, flatten
from synfire.ops import Array, Kind
from synfire.plan import Costs, atoms, stage_graph

REPEATS = 5


def measured(graph: Graph, engine: Engine, sample: Mapping[str, Array]) -> Costs:
    """`measure`, remembered in `SYNFIRE_CACHE` by the graph's content, the engine and the processor."""
    flat = flatten(graph)
    device = DEVICES["cpu"].describe()
    key = "\n".join([flat.content_digest(), *flat.operators, engine.name, device.model])
    file = paths.cache() / "costs" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    known = _remembered(file)
    if known is None:
        known = measure(flat, engine, sample)
        _remember(file, known)
    return known


def measure(graph: Graph, engine: Engine, sample: Mapping[str, Array]) -> Costs:
    """Run each operator by itself on what it sees of `sample` (one request), and the whole graph; medians of 5.

    What the parts take longer than the whole is the price of entering a program, shared out evenly.
    """
    flat = flatten(graph)
    steps = flat.steps or steps_of(flat, sample)
    whole_s = _time(engine.build(flat), sample, steps)
    everything = Graph(flat.operators, flat.synapses, flat.inputs, {name: name for name in flat.order()})
    seen = {**sample, **_run(engine.build(everything), sample, steps)}
    operator_s: dict[str, float] = {}
    groups = atoms(flat)
    for group in groups:
        part = stage_graph(flat, group)
        seconds = _time(engine.build(part), {name: seen[name] for name in part.inputs}, steps)
        operator_s |= dict.fromkeys(group, seconds / len(group))
    surplus_s = max(sum(operator_s.values()) - whole_s, 0.0)
    return Costs(
        operator_s=operator_s,
        density={name: _density(array) for name, array in seen.items()},
        payload={
            name: _payload(seen[name])
            for name, signal in flat.signals().items()
            if signal.size < 0 or signal.kind is Kind.BYTES
        },
        steps=steps,
        call_s=min(surplus_s / max(len(groups) - 1, 1), *operator_s.values()),
    )


def steps_of(graph: Graph, inputs: Mapping[str, Array]) -> int:
    """Time steps of a request whose inputs bring their own time axis; 1 without one."""
    return next((inputs[name].shape[0] for name, signal in graph.inputs.items() if signal.timed), 1)


def _run(program: Program, inputs: Mapping[str, Array], steps: int) -> dict[str, Array]:
    return program.run(program.initial_state(1), inputs, steps)[1]


def _time(program: Program, inputs: Mapping[str, Array], steps: int) -> float:
    _run(program, inputs, steps)  # compiles, loads, fills caches
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        _run(program, inputs, steps)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _density(array: Array) -> float:
    if array.dtype == object or not array.size:
        return 1.0
    return float(np.count_nonzero(array) / array.size)


def _payload(array: Array) -> float:
    """Bytes of one request's files or rows."""
    if array.dtype == object:
        return sum(len(each) for each in array.ravel()) / len(array)
    return array.nbytes / len(array)


def _remembered(file: Path) -> Costs | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Costs)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        LOGGER.warning("the measured costs in %s cannot be read (%s); measuring again", file, error)
        return None


def _remember(file: Path, costs: Costs) -> None:
    """Keep the costs; a cache that cannot be written costs time, no more."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(msgspec.json.encode(costs))
    except OSError as error:
        LOGGER.warning(
            "the measured costs cannot be kept in %s (%s); set SYNFIRE_CACHE to a folder that can", file, error
        )
