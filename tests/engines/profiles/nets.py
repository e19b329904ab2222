"""Small models for the tests of profiles."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from synfire.graph import Graph, Synapse
from synfire.ops import Clock, Kind, Signal
from synfire.ops.constant_current import ConstantCurrent
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.ops.mean_rate import MeanRate

WIDTH = 64


def chain(layers: int = 2, seed: int = 0, steps: int = 4) -> Graph:
    """An encoder, so many layers of neurons, and a readout with a score per class."""
    rng = np.random.default_rng(seed)
    operators = {"encoder": ConstantCurrent(steps)}
    for k in range(layers):
        weight = rng.normal(0, 0.4, (WIDTH, WIDTH)).astype(np.float32)
        operators |= {f"fc{k}": Linear(weight, np.zeros(WIDTH, np.float32)), f"lif{k}": LIF()}
    operators |= {"rate": MeanRate()}
    synapses = tuple(Synapse(a, b) for a, b in pairwise(["x", *operators]))
    return Graph(operators, synapses, {"x": Signal((WIDTH,), Kind.VALUE, Clock.REQUEST)}, {"y": "rate"})
