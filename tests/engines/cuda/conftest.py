"""Where the engine is run: on a GPU where one is at hand (`pytest -m cuda`), and under Triton's interpreter else."""

from __future__ import annotations

import importlib.util
import os

import pytest

from synfire.base.errors import PermanentError
from synfire.devices.cuda import Cuda
from synfire.engines import Engine

MISSING = [each for each in ("torch", "triton") if importlib.util.find_spec(each) is None]


def why_no_gpu() -> str:
    """Why nothing runs on a GPU here; empty where it can."""
    try:
        Cuda().describe()
    except PermanentError as error:
        return str(error)
    return ""


NO_GPU = why_no_gpu()
if NO_GPU and not MISSING:
    os.environ["TRITON_INTERPRET"] = "1"  # before a kernel is imported, which is when Triton reads it


@pytest.fixture(
    params=[pytest.param("emulated", marks=pytest.mark.parity), pytest.param("gpu", marks=pytest.mark.cuda)]
)
def engine(request: pytest.FixtureRequest) -> Engine:
    """The engine on a GPU, or emulated: one of the two is skipped, with the reason."""
    if MISSING:
        pytest.skip(f"{' and '.join(MISSING)} not installed here; `make parity` has an environment with both")
    if request.param == "gpu" and NO_GPU:
        pytest.skip(NO_GPU)
    if request.param == "emulated" and not NO_GPU:
        pytest.skip("a GPU is here: `pytest -m cuda` runs this test on it")
    from synfire.engines.cuda import CudaEngine

    return CudaEngine()
