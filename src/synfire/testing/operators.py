"""The conformance suite that every operator passes: what `synfire.ops.Operator` promises, checked on random inputs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from synfire.base.errors import UserError
from synfire.ops import OPERATORS, Array, Clock, Kind, Operator, Signal, State

Draw = Callable[[np.random.Generator, int], tuple[Array, ...]]
"""Makes the inputs of one step: `(rng, batch) → arrays`, one per port."""

BATCH, STEPS = 3, 4


def check_operator(operator: Operator, *signals: Signal, rng: np.random.Generator, draw: Draw | None = None) -> None:
    """Raise `AssertionError` unless `operator`, fed by `signals`, keeps every promise of the contract.

    Checked: the docstring shows an equation; the shape rule agrees with what steps return; steps are pure and repeatable;
    states have one row per sample; a batch gives the bits of its samples one by one, in any memory layout; attributes and
    parameters rebuild the operator; digests follow the content. `draw` makes inputs that random numbers would not be
    (files, sorted events); without it they are drawn by kind.
    """
    draw = draw or (lambda rng, batch: tuple(draw_signal(signal, rng, batch) for signal in signals))
    inputs = _drawn(signals, draw, rng)
    _check_docstring(operator)
    outputs = _check_steps(operator, signals, inputs)
    _check_samples_alone(operator, signals, inputs, outputs)
    _check_layout(operator, signals, inputs, outputs)
    rebuilt = _rebuilt(operator)
    _assert_same("rebuilt from attributes and parameters", outputs, _run(rebuilt, signals, inputs)[1])
    _check_digests(operator, rebuilt, signals)
    assert OPERATORS.get(operator.kind) is type(operator), (
        f"{operator.kind} is not registered; decorate it with @operator"
    )


def draw_signal(signal: Signal, rng: np.random.Generator, batch: int) -> Array:
    """Random numbers `(batch, *shape)` of a signal's kind; indices are small, ragged sizes are taken as 3."""
    shape = (batch, *(3 if size < 0 else size for size in signal.shape))
    match signal.kind:
        case Kind.SPIKE:
            return rng.integers(0, 2, shape, np.uint8)
        case Kind.COUNT:
            return rng.integers(0, 5, shape, np.int32)
        case Kind.INDEX:
            return rng.integers(0, 2, shape, np.int64)
        case Kind.VALUE:
            return rng.uniform(-1, 2, shape).astype(np.float32)
    raise UserError(f"bytes cannot be drawn at random for {signal}; pass draw= with a function that makes files")


def _drawn(signals: Sequence[Signal], draw: Draw, rng: np.random.Generator) -> list[tuple[Array, ...]]:
    """Inputs for each step; those on the request clock stay the same."""
    first = draw(rng, BATCH)
    later = [draw(rng, BATCH) for _ in range(STEPS - 1)]
    held = [signal.clock is Clock.REQUEST for signal in signals]
    return [first, *(tuple(a if hold else b for a, b, hold in zip(first, each, held, strict=True)) for each in later)]


def _run(
    operator: Operator, signals: Sequence[Signal], inputs: Sequence[tuple[Array, ...]]
) -> tuple[list[State], list[Array]]:
    """States (before the first step, and after each) and outputs; every step must be pure."""
    states, outputs = [operator.initial_state(len(inputs[0][0]), *signals)], []
    for arriving in inputs:
        given = [*_listed(states[-1]), *arriving]
        kept = [array.copy() for array in given]
        state, output = operator.step(states[-1], *arriving)
        _assert_same("with its state and inputs looked at again (does it change them?)", kept, given)
        states.append(state)
        outputs.append(output)
    return states, outputs


def _check_docstring(operator: Operator) -> None:
    doc = type(operator).__doc__ or ""
    assert re.search(r"\S\s*(=|∈|·=)\s*\S", doc), f"{operator.kind}'s docstring shows no equation"


def _check_steps(operator: Operator, signals: Sequence[Signal], inputs: Sequence[tuple[Array, ...]]) -> list[Array]:
    signal = operator.infer(*signals)
    states, outputs = _run(operator, signals, inputs)
    for output in outputs:
        _check_output(operator, signal, output)
    for state in states:
        _check_state(operator, states[0], state)
    again_states, again = _run(operator, signals, inputs)
    _assert_same("a second time (does the operator remember?)", outputs, again)
    for state, once_more in zip(states, again_states, strict=True):
        _assert_same("a second time (does the operator remember?)", _listed(state), _listed(once_more))
    return outputs


def _check_output(operator: Operator, signal: Signal, output: Array) -> None:
    assert isinstance(output, np.ndarray), f"{operator.kind} returns a {type(output).__name__}, not an array"
    if any(size < 0 for size in signal.shape):
        assert output.shape == (BATCH,), f"{operator.kind} returns {output.shape}, not one ragged array per sample"
        for row in output:
            assert row.dtype == signal.kind.dtype, f"{operator.kind} returns {row.dtype}, its shape rule says {signal}"
            fits = all(size in (-1, got) for size, got in zip(signal.shape, row.shape, strict=True))
            assert fits, f"{operator.kind} returns {row.shape}, its shape rule says {signal}"
        return
    assert output.dtype == signal.kind.dtype, f"{operator.kind} returns {output.dtype}, its shape rule says {signal}"
    expected = (BATCH, *signal.shape)
    assert output.shape == expected, f"{operator.kind} returns {output.shape}, its shape rule says {expected}"
    if signal.kind is Kind.SPIKE:
        assert output.max(initial=0) <= 1, f"{operator.kind} returns {output.max()} among its spikes"


def _check_state(operator: Operator, first: State, state: State) -> None:
    described = {name: (array.dtype, array.shape) for name, array in state.items()}
    expected = {name: (array.dtype, array.shape) for name, array in first.items()}
    assert described == expected, f"{operator.kind}'s state changes its layout from {expected} to {described}"
    for name, array in state.items():
        assert array.shape[:1] == (BATCH,), (
            f"{operator.kind}'s state {name!r} is {array.shape}, without a row per sample"
        )


def _check_samples_alone(
    operator: Operator, signals: Sequence[Signal], inputs: Sequence[tuple[Array, ...]], outputs: list[Array]
) -> None:
    states, _ = _run(operator, signals, inputs)
    for b in range(BATCH):
        alone = [tuple(array[b : b + 1] for array in arriving) for arriving in inputs]
        alone_states, alone_outputs = _run(operator, signals, alone)
        _assert_same(f"for sample {b} alone", [output[b : b + 1] for output in outputs], alone_outputs)
        for state, own in zip(states, alone_states, strict=True):
            _assert_same(f"for sample {b} alone (state)", [array[b : b + 1] for array in _listed(state)], _listed(own))


def _check_layout(
    operator: Operator, signals: Sequence[Signal], inputs: Sequence[tuple[Array, ...]], outputs: list[Array]
) -> None:
    fortran = [tuple(np.asfortranarray(array) for array in arriving) for arriving in inputs]
    _assert_same("for inputs laid out column by column", outputs, _run(operator, signals, fortran)[1])
    read_only = [tuple(array.copy() for array in arriving) for arriving in inputs]
    for arriving in read_only:
        for array in arriving:
            array.flags.writeable = False
    _assert_same("for read-only inputs", outputs, _run(operator, signals, read_only)[1])


def _rebuilt(operator: Operator) -> Operator:
    attributes = json.loads(json.dumps(operator.attributes()))
    return type(operator).build(attributes, operator.parameters())


def _check_digests(operator: Operator, rebuilt: Operator, signals: Sequence[Signal]) -> None:
    name = operator.kind
    assert rebuilt.content_digest() == operator.content_digest(), f"{name} rebuilt has another content digest"
    structure = operator.structural_digest(*signals)
    assert rebuilt.structural_digest(*signals) == structure, f"{name} rebuilt has another structural digest"
    for parameter, other in _neighbours(operator):
        assert other.content_digest() != operator.content_digest(), f"{name}.{parameter} is not in the content digest"
        assert other.structural_digest(*signals) == structure, f"{name}.{parameter} changes the structural digest"


def _neighbours(operator: Operator) -> Iterator[tuple[str, Operator]]:
    """For each float parameter, the operator with that parameter's first number one float32 higher."""
    for parameter, array in operator.parameters().items():
        if array.dtype.kind != "f" or not array.size:
            continue
        changed = array.copy()
        changed[(0,) * array.ndim] = np.nextafter(array.flat[0], np.float32(np.inf))
        try:
            other = type(operator).build(operator.attributes(), {**operator.parameters(), parameter: changed})
        except UserError:
            continue  # A parameter that must be 0 beside these attributes, say.
        yield parameter, other


def _listed(state: State) -> list[Array]:
    return [state[name] for name in sorted(state)]


def _assert_same(how: str, wanted: Sequence[Array], got: Sequence[Array]) -> None:
    assert len(wanted) == len(got), f"run {how}: {len(got)} arrays, not {len(wanted)}"
    for a, b in zip(wanted, got, strict=True):
        assert a.dtype == b.dtype, f"run {how}: {b.dtype}, not {a.dtype}"
        assert a.shape == b.shape, f"run {how}: {b.shape}, not {a.shape}"
        assert _bytes(a) == _bytes(b), f"run {how}: other numbers"


def _bytes(array: Array) -> list[bytes]:
    if array.dtype == object:
        return [each if isinstance(each, bytes) else each.tobytes() for each in array]
    return [array.tobytes()]
