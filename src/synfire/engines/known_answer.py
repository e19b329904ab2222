"""Known-answer tests: what a stage gives for a stimulus that is always the same.

Exact engines give the same bits wherever a stage is hosted. So two hosts of a stage that answer differently are not both
sound, and one whose answer has changed since it was hosted has been corrupted, without anything else having told so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from synfire.base.errors import SynfireError
from synfire.devices.mending import DeviceFault
from synfire.engines.engine import Program
from synfire.graph import Graph
from synfire.ops import Array, Kind, Signal

STEPS = 4
"""Time steps of the stimulus: enough for membranes to charge and fire, a few milliseconds at most."""

_MOST = 1 << 20


def known_answer(program: Program) -> str:
    """The digest of all outputs, and of the state afterwards; empty where no stimulus can be made.

    None can for inputs of files or indices, and for shapes that the graph leaves open. Raises `DeviceFault` when the device
    breaks meanwhile.
    """
    inputs = stimulus(program.inputs, steps_of(program.graph))
    if inputs is None:
        return ""
    try:
        state, outputs = program.run(program.initial_state(1), inputs, steps_of(program.graph))
    except DeviceFault:
        raise
    except SynfireError:  # an operator that refuses numbers which mean nothing
        return ""
    digest = hashlib.sha256()
    for name, array in sorted({**state, **outputs}.items()):
        digest.update(f"{name}{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data if array.size else b"")
    return digest.hexdigest()


def steps_of(graph: Graph) -> int:
    """How many time steps the stimulus of a stage has."""
    return min(STEPS, graph.steps or STEPS)


def stimulus(signals: Mapping[str, Signal], steps: int) -> dict[str, Array] | None:
    """Spikes at a density of 1/4, counts up to 3, values in [0, 2); None where none can be made."""
    if not all(_possible(signal) for signal in signals.values()):
        return None
    rng = np.random.default_rng(0)
    found: dict[str, Array] = {}
    for name in sorted(signals):
        signal = signals[name]
        draw = rng.random(((steps, 1) if signal.timed else (1,)) + signal.shape, np.float32)
        scale = {Kind.SPIKE: draw < 0.25, Kind.COUNT: draw * 4, Kind.VALUE: draw * 2}[signal.kind]
        found[name] = np.asarray(scale).astype(signal.kind.dtype)
    return found


def _possible(signal: Signal) -> bool:
    known = signal.kind in (Kind.SPIKE, Kind.COUNT, Kind.VALUE)
    return known and min(signal.shape, default=0) >= 0 and int(np.prod(signal.shape, dtype=np.int64)) <= _MOST
