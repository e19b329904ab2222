"""What a number was measured on."""

from __future__ import annotations

import os
import platform
import resource
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from synfire.devices import DEVICES

PACKAGES = ("synfire", "numpy", "numba", "uvicorn", "grpcio", "torch", "spikingjelly", "snntorch", "norse")
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


def busy_s() -> float:
    """For how long cores of this machine have been busy since it began, all of them together, whoever kept them so. Not a number where the system
    does not tell (Linux does).
    """
    try:
        user, nice, system, _, _, *more = map(int, Path("/proc/stat").read_text().partition("\n")[0].split()[1:8])
    except (OSError, ValueError):
        return float("nan")
    return float(user + nice + system + sum(more)) / os.sysconf("SC_CLK_TCK")


def children_busy_s() -> float:
    """For how long those of this process's children that have ended kept cores busy."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
