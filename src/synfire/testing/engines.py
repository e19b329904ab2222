"""The conformance suite that every exact engine passes: the reference engine's bits, however the work is divided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from synfire.engines import Engine, Program, merge_states, split_state
from synfire.engines.reference import ReferenceEngine
from synfire.graph import Graph
from synfire.ops import Array, State


def run_in_blocks(
    program: Program, inputs: Mapping[str, Array], blocks: Sequence[int], state: State | None = None
) -> tuple[State, dict[str, Array]]:
    """One batch through `program` in blocks of the given numbers of steps; timed outputs are joined again."""
    batch = _batch(program.graph, inputs)
    state = program.initial_state(batch) if state is None else state
    parts: list[dict[str, Array]] = []
    start = 0
    for steps in blocks:
        given = {
            name: inputs[name][start : start + steps] if signal.timed else inputs[name]
            for name, signal in program.inputs.items()
            if signal.timed or start == 0
        }
        state, outputs = program.run(state, given, steps)
        parts.append(outputs)
        start += steps
    timed = {name for name, signal in program.outputs.items() if signal.timed}
    once = {name: array for part in parts for name, array in part.items() if name not in timed}
    return state, once | {name: np.concatenate([part[name] for part in parts]) for name in timed}


def check_engine(engine: Engine, graph: Graph, inputs: Mapping[str, Array], steps: int, seed: int = 0) -> None:
    """Raise `AssertionError` unless `engine` gives the reference engine's bits for `graph`.

    Checked: one block; random blocks; every sample on its own; requests merged half-way, at different blocks; purity.
    """
    rng = np.random.default_rng(seed)
    _, wanted = run_in_blocks(ReferenceEngine().build(graph), inputs, [steps])
    program = engine.build(graph)
    before = {name: array.copy() for name, array in inputs.items()}
    _assert_same("in one block", wanted, run_in_blocks(program, inputs, [steps])[1])
    _assert_same("a second time (is the program free of state?)", wanted, run_in_blocks(program, inputs, [steps])[1])
    blocks = _random_blocks(steps, rng)
    _assert_same(f"in blocks of {blocks} steps", wanted, run_in_blocks(program, inputs, blocks)[1])
    for b in range(_batch(graph, inputs)):
        alone = {
            name: array[:, b : b + 1] if graph.inputs[name].timed else array[b : b + 1]
            for name, array in inputs.items()
        }
        row = {
            name: array[:, b : b + 1] if program.outputs[name].timed else array[b : b + 1]
            for name, array in wanted.items()
        }
        _assert_same(f"for sample {b} alone", row, run_in_blocks(program, alone, [steps])[1])
    _assert_same("its inputs' old values (purity)", before, dict(inputs))


def check_states_merge(engine: Engine, graph: Graph, inputs: Mapping[str, Array], steps: int) -> None:
    """Raise `AssertionError` unless states can be merged and split between blocks without a trace in the bits."""
    program = engine.build(graph)
    _, wanted = run_in_blocks(program, inputs, [1] * steps)
    batch = _batch(graph, inputs)
    states = [program.initial_state(1) for _ in range(batch)]
    for t in range(steps):
        given = {
            name: inputs[name][t : t + 1] if signal.timed else inputs[name]
            for name, signal in program.inputs.items()
            if signal.timed or t == 0
        }
        state, outputs = program.run(merge_states(states), given, 1)
        states = split_state(state, [1] * batch)
        now = {name: wanted[name][t : t + 1] for name in outputs if program.outputs[name].timed}
        _assert_same(f"with states merged at step {t}", now, {name: outputs[name] for name in now})


def check_states_travel(engine: Engine, graph: Graph, inputs: Mapping[str, Array], steps: int, first: int) -> None:
    """Raise `AssertionError` unless the state after the `first` steps is the reference engine's, once it is portable, and a
    program goes on from it without a trace in the bits."""
    program, batch = engine.build(graph), _batch(graph, inputs)
    begun = {name: array[:first] if graph.inputs[name].timed else array for name, array in inputs.items()}
    rest = {name: array[first:] for name, array in inputs.items() if graph.inputs[name].timed}
    after, _ = program.run(program.initial_state(batch), begun, first)
    reference = ReferenceEngine().build(graph)
    kept, _ = reference.run(reference.initial_state(batch), begun, first)
    travelled = program.portable(after)
    _assert_same(f"for {first} steps, its state", kept, travelled)
    _, wanted = program.run(after, rest, steps - first)
    _, outputs = engine.build(graph).run(program.own(travelled), rest, steps - first)
    _assert_same("from a state that has travelled", wanted, outputs)


def _random_blocks(steps: int, rng: np.random.Generator) -> list[int]:
    blocks: list[int] = []
    while sum(blocks) < steps:
        blocks.append(int(rng.integers(1, steps - sum(blocks) + 1)))
    return blocks


def _batch(graph: Graph, inputs: Mapping[str, Array]) -> int:
    name, signal = next(iter(graph.inputs.items()))
    return int(inputs[name].shape[1 if signal.timed else 0])


def _assert_same(how: str, wanted: Mapping[str, Array], got: Mapping[str, Array]) -> None:
    assert wanted.keys() == got.keys(), f"run {how}: outputs {sorted(got)}, not {sorted(wanted)}"
    for name, array in wanted.items():
        assert array.dtype == got[name].dtype, f"run {how}: {name} is {got[name].dtype}, not {array.dtype}"
        assert array.shape == got[name].shape, f"run {how}: {name} is {got[name].shape}, not {array.shape}"
        same = array.tobytes() == got[name].tobytes()
        assert same, f"run {how}: {name} differs in {np.sum(array != got[name])} of {array.size} numbers"
