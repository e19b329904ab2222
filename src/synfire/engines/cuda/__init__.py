"""The engine for NVIDIA GPUs; its kernels are compiled by Triton."""

from synfire.engines.cuda.engine import CudaEngine
from synfire.engines.engine import ENGINES

ENGINES.add(CudaEngine.name, CudaEngine)
