"""What Triton and NVIDIA's assembler make of the kernels rounds as the reference does. No GPU is needed to look at that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synfire.engines import Engine
from synfire.graph import Graph, Synapse
from synfire.ops import Kind, Operator, Signal
from synfire.ops.alif import ALIF
from synfire.ops.avg_pool2d import AvgPool2d
from synfire.ops.conv2d import Conv2d
from synfire.ops.cuba_lif import CubaLIF
from synfire.ops.graph_aggregation import GraphAggregation
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.ops.mean_rate import MeanRate
from synfire.ops.token_sum import TokenSum
from synfire.testing.operators import draw_signal

SCRIPT = Path(__file__).parent / "compiling.py"
VALUES, SPIKES = Signal((1, 4, 4)), Signal((1, 4, 4), Kind.SPIKE)
RNG = np.random.default_rng(0)
CONV = Conv2d(RNG.normal(size=(3, 1, 3, 3)), RNG.normal(size=3), padding=(1, 1, 1, 1))
LINEAR = Linear(RNG.normal(size=(3, 4)), RNG.normal(size=3))
TRIED: list[tuple[Operator, Signal]] = [
    (CONV, VALUES), (CONV, SPIKES), (LINEAR, VALUES), (LIF(tau=1.7), VALUES), (LIF(reset="soft", decay_input=False), VALUES),
    (ALIF(), VALUES), (CubaLIF(spikes="multi", reset="soft"), VALUES), (AvgPool2d((2, 2), (2, 2)), VALUES),
    (TokenSum(), VALUES), (GraphAggregation.from_edges(np.array([[0], [1]]), 4), Signal((4, 2))), (MeanRate(), SPIKES),
]  # fmt: skip


def launches(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[list[Any]]:
    """The launches of one block of each operator that is tried, as `compiling` reads them."""
    import torch

    from synfire.engines.cuda import neurons, synapses, timing, windows
    from synfire.engines.cuda.kernels.launching import launch

    found = []

    def noted(kernel: Any, grid: tuple[int, ...], *arguments: Any, **constants: Any) -> None:
        words = [
            str(each.dtype).removeprefix("torch.") if isinstance(each, torch.Tensor) else each for each in arguments
        ]
        found.append([kernel.fn.__module__, kernel.fn.__name__, words, constants])
        launch(kernel, grid, *arguments, **constants)

    for module in (neurons, synapses, timing, windows):
        monkeypatch.setattr(module, "launch", noted)
    monkeypatch.setattr(synapses, "LARGE", 1)
    for operator, signal in TRIED:
        program = engine.build(Graph({"o": operator}, (Synapse("x", "o"),), {"x": signal}, {"y": "o"}))
        program.run(program.initial_state(2), {"x": np.stack([draw_signal(signal, RNG, 2)] * 2)}, 2)
    return found


def test_machine_code_rounds_every_product_before_it_is_added(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    noted = launches(engine, monkeypatch)
    assert {name for _, name, _, _ in noted} == {
        "convolution", "list_active", "listed_product", "fire", "fire_adaptive", "integrate", "window", "along", "joined",
        "read_out",
    }  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    ran = subprocess.run(
        [sys.executable, SCRIPT, "90"],
        input=json.dumps(noted),
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    made = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(made) == len(noted)
    for name, constants, operations, words in made:
        fused = sum(count for operation, count in operations.items() if operation.startswith(("FFMA", "DFMA")))
        assert not words["ftz"], f"{name} {constants} drops small numbers"
        assert not words["approximate"], f"{name} {constants} divides approximately"
        assert words["fused"] == 0 or constants.get("SPIKES"), f"{name} {constants} asks for fused operations"
        assert fused == 0 or constants.get("SPIKES") or words["divides"], f"{name} {constants} has fused operations"
    assert any(operations.get("FMUL") and operations.get("FADD") for _, _, operations, _ in made)
