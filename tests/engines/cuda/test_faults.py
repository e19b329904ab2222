"""A GPU that fails is lost for its process; nothing computed meanwhile counts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from synfire.base.errors import UserError
from synfire.devices.mending import DeviceFault, DeviceLost, FaultOrder
from synfire.engines import Engine
from synfire.graph import Graph, Synapse
from synfire.ops import Kind, Signal
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear

WEIGHT = np.ones((2, 3), np.float32)
NET = Graph(
    {"layer": Linear(WEIGHT, WEIGHT[:, 0]), "lif": LIF()},
    (Synapse("x", "layer"), Synapse("layer", "lif")),
    {"x": Signal((3,), Kind.SPIKE)},
    {"y": "lif"},
)


def test_a_gpu_that_fails_is_lost(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    program = engine.build(NET)

    @contextmanager
    def failing() -> Iterator[None]:
        raise DeviceFault("the GPU has failed: CUDA error: an illegal memory access was encountered")
        yield

    x, state = {"x": np.ones((1, 1, 3), np.uint8)}, program.initial_state(1)
    assert not program.ailing
    with monkeypatch.context() as broken:
        broken.setattr(program._here, "working", failing)
        with pytest.raises(DeviceFault, match="illegal memory access"):
            program.run(state, x, 1)
    assert program.ailing
    with pytest.raises(DeviceFault, match="illegal memory access"):  # also when the next call would seem to do
        program.run(state, x, 1)
    with pytest.raises(DeviceLost, match="its process has to be started anew"):
        program.mend()


def test_nothing_of_a_gpu_is_broken_on_purpose(engine: Engine) -> None:
    with pytest.raises(UserError, match="name a darwin3 stage"):
        engine.build(NET).inject(FaultOrder("core"))


def test_errors_of_cuda_are_told_from_others(engine: Engine) -> None:
    import torch

    from synfire.engines.cuda.hardware import _of_device

    assert _of_device(torch.AcceleratorError("CUDA error: an illegal memory access was encountered"))
    assert _of_device(RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"))
    assert not _of_device(RuntimeError("shape '[2]' is invalid for input of size 3"))
