"""NVIDIA GPUs, as their driver tells of them (NVML)."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

from synfire.base.errors import PermanentError
from synfire.devices.device import DEVICES, Description, Device
from synfire.graph import Graph

CORRECTS = "ecc"
"""The feature of memory that corrects flipped bits by itself."""

_NEEDED = {"pynvml": "nvidia-ml-py", "torch": "torch", "triton": "triton"}


class Cuda(Device):
    """The first GPU that this process may see (`CUDA_VISIBLE_DEVICES`, in the order of the PCI bus).

    It is looked for by NVML, which starts nothing on it: a process that is forked afterwards may still use it. Under Triton's
    interpreter (TRITON_INTERPRET=1) the device is an emulation on the processor.
    """

    name = "cuda"

    def describe(self) -> Description:
        """Raises `PermanentError` with the reason where this process can use none."""
        return _emulation() if emulated() else _gpu()

    def refusals(self, graph: Graph) -> Mapping[str, str]:
        """What has no place in tensors, and everything where the parameters do not fit. Raises as `describe` does."""
        found = self.describe()
        needed = sum(graph.operator(name).parameter_bytes for name in graph)
        if needed > found.memory_bytes:
            why = f"the model's parameters take {needed:,} bytes, and {found.model} has {found.memory_bytes:,}"
            return dict.fromkeys(graph.order(), why)
        return {name: why for name in graph.order() if (why := _refusal(graph, name))}


def emulated() -> bool:
    """Whether Triton's interpreter was asked for."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def _refusal(graph: Graph, name: str) -> str:
    if graph.operator(name).whole:
        return "only an engine of its own runs it"
    signals = (*graph.signals_into(name), graph.signals()[name])
    if any(signal.kind.dtype == object for signal in signals):
        return "it reads or emits bytes"
    if any(size < 0 for signal in signals for size in signal.shape):
        return "the sizes of what it reads or emits differ from request to request"
    return ""


def _emulation() -> Description:
    _require("torch", "triton")
    here = DEVICES["cpu"].describe()
    return Description(
        Cuda.name, "Triton's interpreter (no GPU)", here.cores, here.memory_bytes, ("emulated", CORRECTS)
    )


def _gpu() -> Description:
    _require(*_NEEDED)
    _require_build_for_gpus()
    with _driver() as nvml:
        handle = _handle(nvml)
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
        features = (f"sm_{major}{minor}", *((CORRECTS,) if _corrects(nvml, handle) else ()))
        return Description(
            device=Cuda.name,
            model=_text(nvml.nvmlDeviceGetName(handle)),
            cores=nvml.nvmlDeviceGetNumGpuCores(handle),
            memory_bytes=nvml.nvmlDeviceGetMemoryInfo(handle).total,
            features=features,
        )


def _require(*modules: str) -> None:
    """Raise `PermanentError` unless the modules are installed; none of them is imported."""
    missing = [_NEEDED[each] for each in modules if importlib.util.find_spec(each) is None]
    if missing:
        raise PermanentError(
            f"this installation cannot use a GPU: without {', '.join(missing)}; pip install 'synfire[cuda]', or use cpu"
        )


def _require_build_for_gpus() -> None:
    """Raise `PermanentError` for a torch that says in its version that it knows only processors."""
    found = version("torch")
    if found.endswith("+cpu"):
        raise PermanentError(
            f"this installation cannot use a GPU: torch {found} is built for processors; install a build with CUDA, or use cpu"
        )


@contextmanager
def _driver() -> Iterator[Any]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise PermanentError(f"this machine has no NVIDIA GPU with its driver (NVML: {error}); use cpu") from error
    try:
        yield pynvml
    except pynvml.NVMLError as error:
        raise PermanentError(
            f"the NVIDIA driver does not tell of its GPU ({error}); look at nvidia-smi, or use cpu"
        ) from error
    finally:
        pynvml.nvmlShutdown()


def _handle(nvml: Any) -> Any:
    """The first visible GPU."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    first = "0" if visible is None else visible.split(",")[0].strip()
    if first.isdecimal() and int(first) < nvml.nvmlDeviceGetCount():
        return nvml.nvmlDeviceGetHandleByIndex(int(first))
    if first.startswith(("GPU-", "MIG-")):
        return nvml.nvmlDeviceGetHandleByUUID(first)
    raise PermanentError(f"CUDA_VISIBLE_DEVICES={visible!r} shows this process no GPU; unset it, or use cpu")


def _corrects(nvml: Any, handle: Any) -> bool:
    try:
        return bool(nvml.nvmlDeviceGetEccMode(handle)[0])
    except nvml.NVMLError:  # many GPUs have no such memory, and say so in this way
        return False


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


DEVICES.add(Cuda.name, Cuda())
