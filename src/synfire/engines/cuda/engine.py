"""The engine for NVIDIA GPUs. torch and Triton are imported when it builds, and not before."""

from __future__ import annotations

import os

from synfire.devices import DEVICES
from synfire.devices.cuda import CORRECTS, Cuda, emulated
from synfire.engines.cuda import table
from synfire.engines.engine import Engine, Program
from synfire.graph import Graph


class CudaEngine(Engine):
    """Exact float32 on a GPU: the bits of the reference engine, by Triton kernels with the canonical order of sums.

    Operators without a kernel run by their reference step on the host; `remarks` names them. With TRITON_INTERPRET=1 kernels
    are interpreted on the processor, without a GPU: so it is tested where none is at hand, and for nothing else.
    """

    name = device = Cuda.name

    @classmethod
    def remarks(cls, graph: Graph) -> dict[str, str]:
        return {name: f"runs on the host: {why}" for name, why in table.on_host(graph).items()}

    def build(self, graph: Graph) -> Program:
        """Raises `PermanentError` where there is no GPU, or torch or Triton is missing."""
        found = DEVICES[Cuda.name].describe()
        os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # the driver's order, by which it was found
        from synfire.engines.cuda.hardware import Emulation, Gpu
        from synfire.engines.cuda.program import CudaProgram

        return CudaProgram(graph, Emulation() if emulated() else Gpu(), corrects=CORRECTS in found.features)
