"""Programs that have operators in common hold what is derived from them once, and do not disturb each other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import numpy as np

from synfire.engines.cpu.engine import CpuEngine
from synfire.engines.cpu.program import CpuProgram
from synfire.engines.cpu.schedule import Link
from synfire.graph import Graph, Synapse, reference
from synfire.ops import Array, Clock, Kind, Signal
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear

STEPS = 5


def net(seed: int) -> Graph:
    """A backbone that is always the same, and a head of its own."""
    backbone, head = np.random.default_rng(0), np.random.default_rng(seed)
    return Graph(
        {
            "a": Linear(backbone.normal(size=(64, 32)), backbone.normal(size=64)),
            "n": LIF(),
            "head": Linear(head.normal(size=(24, 64)), head.normal(size=24)),
            "out": LIF(),
        },
        (Synapse("x", "a"), Synapse("a", "n"), Synapse("n", "head"), Synapse("head", "out")),
        {"x": Signal((32,), Kind.VALUE, Clock.STEP)},
        {"out": "out"},
    )


def program(graph: Graph) -> CpuProgram:
    made = CpuEngine().build(graph)
    assert isinstance(made, CpuProgram)
    return made


def arrays_of(made: CpuProgram) -> list[Array]:
    chains = [part.chain for part in made.parts if isinstance(part, Link)]
    return [each for chain in chains for line in chain.lines for each in line.arrays.values()]


def bits(made: CpuProgram, inputs: dict[str, Array]) -> bytes:
    return made.run(made.initial_state(2), inputs, STEPS)[1]["out"].tobytes()


def inputs(seed: int) -> dict[str, Array]:
    return {"x": np.random.default_rng(seed).normal(size=(STEPS, 2, 32)).astype(np.float32) * 2}


def test_what_is_derived_from_equal_operators_is_held_once() -> None:
    first, second = program(net(1)), program(net(2))
    large = [(id(a), id(b)) for a, b in zip(arrays_of(first), arrays_of(second), strict=True) if a.nbytes >= 4096]
    assert len(large) == 2
    assert sum(a == b for a, b in large) == 1, "the backbone's weights are shared, the heads' are not"


def test_fresh_states_of_programs_that_are_alike_are_one() -> None:
    wide = replace(net(1), operators={**net(1).operators})
    first, second = program(wide).initial_state(64), program(net(2)).initial_state(64)
    assert all(first[name] is second[name] for name in first)


def test_a_program_that_was_warmed_in_another_thread_gives_the_same_bits() -> None:
    graph, given = net(1), inputs(3)
    right = reference.run(graph, given)["out"].tobytes()
    with ThreadPoolExecutor(1) as builder:
        made = builder.submit(program, graph).result()
        builder.submit(made.warm).result()
        assert builder.submit(bits, made, given).result() == right
        assert bits(made, given) == right
        assert builder.submit(bits, made, given).result() == right


def test_programs_that_run_at_the_same_time_do_not_share_scratch_memory() -> None:
    graphs, given = [net(seed) for seed in range(4)], inputs(4)
    right = [reference.run(graph, given)["out"].tobytes() for graph in graphs]
    made = [program(graph) for graph in graphs]
    start = Barrier(len(made))

    def run(k: int) -> bool:
        start.wait()
        return all(bits(made[k], given) == right[k] for _ in range(200))

    with ThreadPoolExecutor(len(made)) as threads:
        assert all(threads.map(run, range(len(made))))
