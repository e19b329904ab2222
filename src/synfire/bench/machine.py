"""What a number was measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from synfire.devices import DEVICES

PACKAGES = ("synfire", "numpy", "numba", "uvicorn", "grpcio", "torch", "spikingjelly", "snntorch")
"""Whose versions change the numbers."""


def machine() -> dict[str, Any]:
    """Processor, cores, instruction sets, memory, system, and the versions of Python and packages."""
    cpu = DEVICES["cpu"].describe()
    return {
        "cpu": cpu.model,
        "cores": cpu.cores,
        "features": list(cpu.features),
        "memory_bytes": cpu.memory_bytes,
        "system": f"{platform.system()} {platform.release()}",
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
