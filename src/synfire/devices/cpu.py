"""Processors."""

from __future__ import annotations

import functools
import os
import platform
import re
from pathlib import Path

from synfire.devices.device import DEVICES, Description, Device

FEATURES = (
    "sse4_2", "avx", "f16c", "fma", "avx2", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "amx_tile",
    "asimd", "asimdhp", "asimddp", "bf16", "sve", "sve2",
)  # fmt: skip
"""Instruction sets that kernels are chosen by."""


class Cpu(Device):
    """The processor: cores that this process may use, and the memory that its control group or the machine has."""

    name = "cpu"

    def describe(self) -> Description:
        return _describe()


@functools.cache
def _describe() -> Description:
    info = _read("/proc/cpuinfo")
    return Description(
        device=Cpu.name,
        model=_field(info, "model name") or platform.processor() or platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=_memory_bytes(),
        features=tuple(
            each for each in FEATURES if each in (_field(info, "flags") or _field(info, "Features")).split()
        ),
    )


def _memory_bytes() -> int:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _read("/sys/fs/cgroup/memory.max").strip()
    return min(total, int(limit)) if limit.isdecimal() else total


def _field(info: str, name: str) -> str:
    found = re.search(rf"^{name}\s*:\s*(.*)$", info, re.MULTILINE)
    return found[1].strip() if found else ""


def _read(path: str) -> str:
    """The file's text, or nothing where this system has no such file."""
    file = Path(path)
    return file.read_text() if file.is_file() else ""


DEVICES.add(Cpu.name, Cpu())
