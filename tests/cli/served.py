"""A small model, and `synfire serve` as a process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from synfire.formats.bundle import write_bundle
from synfire.graph import Graph, Synapse
from synfire.ops import Clock, Kind, Signal
from synfire.ops.constant_current import ConstantCurrent
from synfire.ops.flatten import Flatten
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.ops.mean_rate import MeanRate


def tiny(seed: int = 0, hidden: int = 6) -> Graph:
    """A model of 8×8 pictures with two neuron layers."""
    rng = np.random.default_rng(seed)

    def linear(inputs: int, outputs: int) -> Linear:
        return Linear(rng.normal(0, 1, (outputs, inputs)).astype(np.float32), np.zeros(outputs, np.float32))

    names = ["x", "encoder", "flatten", "fc1", "lif1", "fc2", "lif2", "head", "rate"]
    return Graph(
        {
            "encoder": ConstantCurrent(4), "flatten": Flatten(), "fc1": linear(64, hidden), "lif1": LIF(),
            "fc2": linear(hidden, hidden), "lif2": LIF(), "head": linear(hidden, 10), "rate": MeanRate(),
        },
        tuple(Synapse(a, b) for a, b in pairwise(names)),
        {"x": Signal((1, 8, 8), Kind.VALUE, Clock.REQUEST)},
        {"y": "rate"},
        {"labels": list("abcdefghij"), "input": "a grey image (1, 8, 8), values in [0, 1]"},
    )  # fmt: skip


def import_tiny(folder: Path) -> None:
    """Have the store of SYNFIRE_HOME know the model as `tiny`; its bundle is written to the folder."""
    write_bundle(tiny(), folder / "tiny")
    command = [sys.executable, "-m", "synfire", "import", str(folder / "tiny")]
    subprocess.run(command, check=True, capture_output=True)


@contextmanager
def serving(arguments: Sequence[str]) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """`synfire serve … --json` as a process, and the line that it printed; ended by SIGTERM if the test did not."""
    command = [sys.executable, "-m", "synfire", "serve", *arguments, "--port", "0", "--grpc-port", "0", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(60)
