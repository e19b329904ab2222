"""The table of kernels says what is so, and can be read without torch."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from synfire.engines import ENGINES, Engine
from synfire.engines.cuda import CudaEngine, table
from synfire.graph import Graph, Synapse
from synfire.ops import OPERATORS, Kind, Signal
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.ops.softmax import Softmax


def test_the_table_names_operators_that_there_are_each_once() -> None:
    kinds = [kind for group in table.KERNELS.values() for kind in group]
    assert len(set(kinds)) == len(kinds)
    assert set(kinds) <= set(OPERATORS)


def test_every_module_has_the_steps_that_the_table_says(engine: Engine) -> None:
    import importlib

    from synfire.engines.cuda.step import STEPS

    for module, kinds in table.KERNELS.items():
        loaded = importlib.import_module(f"synfire.engines.cuda.{module}")
        assert {STEPS[kind].__module__ for kind in kinds} == {loaded.__name__}
    assert set(STEPS) == {kind for kinds in table.KERNELS.values() for kind in kinds}


def test_what_runs_on_the_host_is_told_with_the_reason() -> None:
    weight = np.zeros((3, 4), np.float32)
    operators = {"layer": Linear(weight, weight[:, 0]), "lif": LIF(), "chances": Softmax()}
    synapses = (Synapse("x", "layer"), Synapse("layer", "lif"), Synapse("lif", "chances"))
    graph = Graph(operators, synapses, {"x": Signal((4,), Kind.SPIKE)}, {"y": "chances"})
    assert CudaEngine.remarks(graph) == {"chances": "runs on the host: there is no GPU kernel for Softmax"}


def test_the_engine_is_exact_and_its_device_has_its_name() -> None:
    assert ENGINES["cuda"] is CudaEngine
    assert (CudaEngine.device, CudaEngine.exact, CudaEngine.format) == ("cuda", True, "float32")


@pytest.mark.slow
def test_a_process_that_does_not_build_for_a_gpu_imports_neither_torch_nor_triton() -> None:
    asks = "import sys; from synfire.engines import ENGINES; ENGINES['cuda']; print({'torch', 'triton'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
