"""How this package compiles its hot loops: once per machine, kept in the cache, to the bit as written."""

from __future__ import annotations

import os

from synfire.base import paths

os.environ.setdefault("NUMBA_CACHE_DIR", str(paths.cache() / "numba"))

from typing import Any

import numba
from llvmlite import ir
from numba.core.extending import intrinsic

compiled = numba.njit(nogil=True, cache=True, fastmath=False, error_model="numpy", boundscheck=False)
"""Decorator: compile at the first call, without reassociation, fused multiply-add or the interpreter's lock."""

inlined = numba.njit(inline="always", fastmath=False, error_model="numpy")
"""Decorator: a part of compiled functions, expanded where it is called."""


def _trailing_zeros(context: Any, word: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return numba.int64(numba.uint64), codegen


trailing_zeros: Any = intrinsic(_trailing_zeros)
"""How many zeros lie below the lowest set bit of an unsigned 64-bit number that is not 0."""
