"""Run in a process of its own: compiles launches for a GPU that is not there, and prints what their machine code says of rounding.

Triton's compiler and NVIDIA's assembler need no GPU. A launch is `[module, kernel, arguments, constants]`; an argument is a
number, or the dtype of a tensor in words.
"""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from triton.runtime.jit import MockTensor

CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"


class Absent:
    """Stands where the driver of a GPU of that generation would be."""

    def __init__(self, generation: int) -> None:
        self._target = GPUTarget("cuda", generation, 32)

    def get_current_target(self) -> GPUTarget:
        return self._target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def compiled(module: str, name: str, arguments: list[Any], constants: dict[str, Any]) -> Any:
    kernel = getattr(importlib.import_module(module), name)
    given = [MockTensor(getattr(torch, each)) if isinstance(each, str) else each for each in arguments]
    return kernel.warmup(*given, **constants, enable_fp_fusion=False, grid=(1,))


def operations(binary: bytes) -> Counter[str]:
    """How often each floating-point operation stands in the machine code."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        code = subprocess.run([CUOBJDUMP, "-sass", file.name], capture_output=True, text=True, check=True).stdout
    return Counter(re.findall(r"\b((?:FFMA|DFMA|FADD|FMUL|DADD|DMUL|MUFU)[.\w]*)", code))


def told(ptx: str) -> dict[str, int]:
    """What the assembler was told: how often to divide exactly, to divide in another way, to fuse, and to drop small numbers."""
    patterns = {"divides": r"div\.rn\.f", "approximate": r"div\.(?:full|approx)", "fused": r"fma\.", "ftz": r"\.ftz"}
    return {name: len(re.findall(pattern, ptx)) for name, pattern in patterns.items()}


def main() -> None:
    launches = json.loads(sys.stdin.read())
    driver.set_active(Absent(int(sys.argv[1])))
    for module, name, arguments, constants in launches:
        made = compiled(module, name, arguments, constants)
        print(json.dumps([name, constants, operations(made.asm["cubin"]), told(made.asm["ptx"])]))


if __name__ == "__main__":
    main()
