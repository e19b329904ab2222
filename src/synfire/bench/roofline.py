"""What one core of this machine can do at best: additions a second, and bytes read a second from each cache and from memory.

Measured with vector code like that of the engine's kernels (`synfire.engines.cpu.vectors`), on aligned memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.core.extending import intrinsic

from synfire.base.compiled import compiled
from synfire.base.errors import UserError
from synfire.engines.cpu.reach import aligned
from synfire.engines.cpu.vectors import LANES

_SUMS = 8
"""Vectors that are summed side by side: one addition's result takes four turns, and two additions begin in each."""

_REPEATS = 300
"""Short ones, of which the fastest counts: a peak is what nothing disturbs, and some find the core to themselves."""

_MEMORY_BYTES = 1 << 29
"""What is read to be beyond the largest cache."""

_TURN_BYTES = 4 * _SUMS * LANES

_READ_BYTES = 1 << 22
_ADDITIONS = 1 << 22

_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


@dataclass(frozen=True)
class Level:
    """A cache, or memory: what it holds, and how fast one core reads it."""

    name: str
    size_bytes: int
    read_bytes_s: float


@dataclass(frozen=True)
class Roofs:
    """The peaks of one core: float32 additions a second, and the levels of memory from the nearest to the farthest."""

    additions_s: float
    levels: tuple[Level, ...]

    @property
    def nearest(self) -> Level:
        return self.levels[0]

    def holding(self, size_bytes: int) -> Level:
        """The nearest level that holds so much; memory, if no other does."""
        return next((each for each in self.levels if size_bytes <= each.size_bytes), self.levels[-1])


def measured(quick: bool = False) -> Roofs:
    """Measure the peaks, in seconds. Raises `UserError` where the system does not tell how large its caches are."""
    caches, repeats = cache_sizes(), 20 if quick else _REPEATS
    memory_bytes = min(2 * caches[-1][1], _MEMORY_BYTES // (16 if quick else 1))
    levels, before = [], 0
    for name, size in caches:
        levels.append(Level(name, size, _read_s(min(size // 2, memory_bytes, 8 * before or size), repeats)))
        before = size
    return Roofs(_additions_s(repeats), (*levels, Level("memory", memory_bytes, _read_s(memory_bytes, repeats))))


def cache_sizes(folder: Path = _CACHES) -> list[tuple[str, int]]:
    """(name, bytes) of the caches of one core that hold data, the nearest first. Raises `UserError`."""
    found = {}
    for cache in folder.glob("index*"):
        level, kind, size = ((cache / name).read_text().strip() for name in ("level", "type", "size"))
        if kind != "Instruction":
            found[int(level)] = int(size.removesuffix("K")) << 10
    if not found:
        raise UserError(
            f"{folder} does not say how large this processor's caches are, and without that there is no roofline; "
            "run this benchmark on Linux, on the machine itself or in a virtual machine that shows its caches"
        )
    return [(f"L{level}", size) for level, size in sorted(found.items())]


def _additions_s(repeats: int) -> float:
    turns = _ADDITIONS // (_SUMS * LANES)
    return _ADDITIONS / min(_times(lambda at: _add(1, turns), repeats))


def _read_s(size_bytes: int, repeats: int) -> float:
    """Bytes a second, from memory of this size that is read round and round; piece by piece where it is large."""
    memory = aligned((size_bytes // 4,), np.float32)
    memory[:] = 0
    piece = min(size_bytes, _READ_BYTES) // _TURN_BYTES * _TURN_BYTES
    start, turns, times = memory.ctypes.data, piece // _TURN_BYTES, max(1, _READ_BYTES // size_bytes)
    pieces = size_bytes // piece
    return (
        piece
        * times
        / min(_times(lambda at: _read(start + at % pieces * piece, turns, times), max(repeats, 2 * pieces)))
    )


def _times(call: Callable[[int], object], repeats: int) -> list[float]:
    """Seconds of each call but the first, which may have to be compiled."""
    found = []
    for k in range(repeats + 1):
        start = time.perf_counter()
        call(k)
        found.append(time.perf_counter() - start)
    return found[1:]


def _sums(from_memory: bool) -> Any:
    """(start, turns): `turns` times adds a vector to each of eight, from the address `start` on or `start` itself."""
    word, kind = ir.IntType(64), ir.VectorType(ir.FloatType(), LANES)

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        start, turns = args
        totals = [cgutils.alloca_once_value(builder, ir.Constant(kind, [0.0] * LANES)) for _ in range(_SUMS)]
        number = builder.insert_element(
            ir.Constant(kind, [1.0] * LANES), builder.sitofp(start, ir.FloatType()), ir.IntType(32)(0)
        )
        with cgutils.for_range(builder, turns) as loop:
            for k, total in enumerate(totals):
                place = builder.add(
                    start, builder.mul(builder.add(builder.mul(loop.index, word(_SUMS)), word(k)), word(4 * LANES))
                )
                added = builder.load(builder.inttoptr(place, kind.as_pointer()), align=64) if from_memory else number
                builder.store(builder.fadd(builder.load(total), added), total)
        result = builder.load(totals[0])
        for total in totals[1:]:
            result = builder.fadd(result, builder.load(total))
        return builder.extract_element(result, ir.IntType(32)(0))

    def typing(typingctx: Any, start: Any, turns: Any) -> Any:
        return numba.float32(numba.int64, numba.int64), emit

    return intrinsic(typing)


_sum_number, _sum_memory = _sums(False), _sums(True)


@compiled
def _add(number, turns):  # type: ignore[no-untyped-def]
    return _sum_number(number, turns)


@compiled
def _read(start, turns, times):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for _ in range(times):
        total += _sum_memory(start, turns)
    return total
