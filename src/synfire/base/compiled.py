"""How this package compiles its hot loops: once per machine, kept in the cache, to the bit as written."""

from __future__ import annotations

import os

from synfire.base import paths

os.environ.setdefault("NUMBA_CACHE_DIR", str(paths.cache() / "numba"))

import hashlib
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from llvmlite import ir
from numba.core import event as events
from numba.core.extending import intrinsic

from synfire.base.machine_code import keeping
from synfire.base.telling import tell

numba.config.reload_config()  # numba may have been imported before, by somebody who knew of no cache

_SEARCHED = "scipy.linalg"


def load() -> None:
    """Load what numba needs before it runs its first function, but for one thing.

    To know whether there is a scipy it imports most of it, which takes as long as all the rest, and 30 MB: for `numpy.cov` and
    `numpy.corrcoef`, which nobody compiles here. So it shall find none; where scipy is loaded already, that costs nothing.
    """
    hidden = _SEARCHED not in sys.modules
    if hidden:
        sys.modules[_SEARCHED] = None  # type: ignore[assignment]
    try:
        importlib.import_module("numba.np.arraymath")
    finally:
        if hidden:
            del sys.modules[_SEARCHED]


class _Compiling(events.Listener):  # type: ignore[misc]
    """Tells how many functions were compiled, which is none where the cache has them all: a first start takes a minute for it."""

    def __init__(self) -> None:
        self._begun = self._open = 0

    def on_start(self, event: object) -> None:
        self._begun += 1
        self._open += 1
        tell(_WORK, f"function {self._begun}")

    def on_end(self, event: object) -> None:
        self._open -= 1
        if not self._open:
            tell(_WORK, "compiled", 1.0)


_WORK = "compiling for this processor, once"

events.register("numba:compile", _Compiling())


_AS_WRITTEN = {"nogil": True, "fastmath": False, "error_model": "numpy", "boundscheck": False}
_compiled = numba.njit(**_AS_WRITTEN)
_uncounted = numba.njit(**_AS_WRITTEN, _nrt=False)


def compiled(function: Callable[..., Any]) -> Any:
    """Decorator: compile at the first call, without reassociation, fused multiply-add or the interpreter's lock."""
    return keeping(_compiled(function), function)


def compiled_together(*files: Path) -> Any:
    """Decorator like `compiled` for functions that share constants and call each other across these source files.

    numba keeps machine code for as long as the function's own file stays the same, though it holds what others say, too.
    Here it is kept under the content of them all. Arrays are not counted, so these functions may make none: that takes two locked
    instructions at each call.
    """
    content = hashlib.sha256(b"".join(file.read_bytes() for file in sorted(files))).hexdigest()[:16]

    def decorate(function: Callable[..., Any]) -> Any:
        before = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = str(Path(before) / content)
        try:
            return keeping(_uncounted(function), function)
        finally:
            numba.config.CACHE_DIR = before

    return decorate


inlined = numba.njit(inline="always", fastmath=False, error_model="numpy")
"""Decorator: a part of compiled functions, expanded where it is called."""


def _trailing_zeros(context: Any, word: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return numba.int64(numba.uint64), codegen


trailing_zeros: Any = intrinsic(_trailing_zeros)
"""How many zeros lie below the lowest set bit of an unsigned 64-bit number that is not 0."""
