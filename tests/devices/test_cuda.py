"""A GPU is found by its driver, and refused with the reason where there is none. The driver here is a stand-in."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

from synfire.base.errors import PermanentError
from synfire.devices import DEVICES, cuda
from synfire.graph import Graph, Synapse
from synfire.ops import Clock, Kind, Signal
from synfire.ops.image_decode import ImageDecode
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear


class DriverError(Exception):
    """What NVML raises."""


class Driver:
    """A machine with `count` GPUs, which tell of themselves as NVML does."""

    NVMLError = DriverError

    def __init__(self, count: int = 2, ecc: bool = True, memory: int = 80 * 10**9) -> None:
        self.count, self.ecc, self.memory, self.open = count, ecc, memory, 0

    def nvmlInit(self) -> None:
        if not self.count:
            raise DriverError("Driver Not Loaded")
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        return f"number {index}"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        return uuid

    def nvmlDeviceGetName(self, handle: str) -> str:
        return f"GPU {handle}"

    def nvmlDeviceGetCudaComputeCapability(self, handle: str) -> tuple[int, int]:
        return 9, 0

    def nvmlDeviceGetNumGpuCores(self, handle: str) -> int:
        return 16_896

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> SimpleNamespace:
        return SimpleNamespace(total=self.memory)

    def nvmlDeviceGetEccMode(self, handle: str) -> list[int]:
        if not self.ecc:
            raise DriverError("Not Supported")
        return [1, 1]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[Driver], Driver]:
    """Makes a driver the machine's, with all that is needed installed."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(cuda, "version", lambda name: "2.13.0+cu130")

    def made(driver: Driver) -> Driver:
        monkeypatch.setitem(sys.modules, "pynvml", driver)
        return driver

    return made


def test_a_gpu_is_described_and_its_driver_let_go(install: Callable[[Driver], Driver]) -> None:
    driver = install(Driver())
    found = DEVICES["cuda"].describe()
    assert (found.device, found.model, found.cores) == ("cuda", "GPU number 0", 16_896)
    assert found.memory_bytes == 80 * 10**9
    assert found.features == ("sm_90", "ecc")
    assert driver.open == 0


def test_a_gpu_without_correcting_memory_has_no_such_feature(install: Callable[[Driver], Driver]) -> None:
    install(Driver(ecc=False))
    assert DEVICES["cuda"].describe().features == ("sm_90",)


@pytest.mark.parametrize(("visible", "model"), [("1,0", "GPU number 1"), ("GPU-ab12", "GPU GPU-ab12")])
def test_the_first_visible_gpu_is_taken(
    install: Callable[[Driver], Driver], monkeypatch: pytest.MonkeyPatch, visible: str, model: str
) -> None:
    install(Driver())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert DEVICES["cuda"].describe().model == model


@pytest.mark.parametrize("visible", ["", "-1", "2"])
def test_a_hidden_gpu_is_none(
    install: Callable[[Driver], Driver], monkeypatch: pytest.MonkeyPatch, visible: str
) -> None:
    install(Driver())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(PermanentError, match="shows this process no GPU; unset it, or use cpu"):
        DEVICES["cuda"].describe()


def test_a_machine_without_a_driver_is_refused(install: Callable[[Driver], Driver]) -> None:
    install(Driver(count=0))
    with pytest.raises(PermanentError, match=r"no NVIDIA GPU with its driver \(NVML: Driver Not Loaded\); use cpu"):
        DEVICES["cuda"].describe()


def test_what_is_not_installed_is_named(install: Callable[[Driver], Driver], monkeypatch: pytest.MonkeyPatch) -> None:
    install(Driver())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "triton" else name)
    with pytest.raises(PermanentError, match=r"without triton; pip install 'synfire\[cuda\]', or use cpu"):
        DEVICES["cuda"].describe()


def test_a_torch_for_processors_is_refused(
    install: Callable[[Driver], Driver], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(Driver())
    monkeypatch.setattr(cuda, "version", lambda name: "2.13.0+cpu")
    with pytest.raises(PermanentError, match=r"torch 2\.13\.0\+cpu is built for processors; install a build with CUDA"):
        DEVICES["cuda"].describe()


def pictures() -> Graph:
    weight = np.zeros((3, 12), np.float32)
    operators = {"decode": ImageDecode(1, 3, 4), "layer": Linear(weight, weight[:, 0]), "lif": LIF()}
    synapses = (Synapse("file", "decode"), Synapse("x", "layer"), Synapse("layer", "lif"))
    inputs = {"file": Signal((), Kind.BYTES, Clock.REQUEST), "x": Signal((12,))}
    return Graph(operators, synapses, inputs, {"picture": "decode", "spikes": "lif"})


def test_bytes_stay_on_the_processor(install: Callable[[Driver], Driver]) -> None:
    install(Driver())
    assert DEVICES["cuda"].refusals(pictures()) == {"decode": "it reads or emits bytes"}


def test_parameters_that_do_not_fit_are_refused_with_both_sizes(install: Callable[[Driver], Driver]) -> None:
    install(Driver(memory=100))
    refused = DEVICES["cuda"].refusals(pictures())
    assert set(refused) == {"decode", "layer", "lif"}
    assert refused["lif"] == "the model's parameters take 168 bytes, and GPU number 0 has 100"
