"""Threads that play one tape together: each takes the next piece of a line that nobody has taken, and waits for the line's end.

Pieces are counted in memory that the threads share. A thread that comes late finds that lines are done, and goes on to the
first one that is not; one that never comes is missed by nobody. So no thread waits but for work that another has begun.
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir

from synfire.engines.cpu.tape import kernel
from synfire.engines.cpu.vectors import intrinsic_of

_WORD = ir.IntType(64)
_SPINS = 2000
"""How often a thread looks before it lets others have its processor."""


def _add_one(builder: Any, address: Any) -> Any:
    pointer = builder.inttoptr(address, _WORD.as_pointer())
    return builder.atomic_rmw("add", pointer, _WORD(1), "seq_cst")


def _read(builder: Any, address: Any) -> Any:
    return builder.load_atomic(builder.inttoptr(address, _WORD.as_pointer()), "acquire", 8)


def _yield(builder: Any) -> Any:
    function = ir.FunctionType(ir.IntType(32), ())
    named = builder.module.globals.get("sched_yield") or ir.Function(builder.module, function, "sched_yield")
    return builder.zext(builder.call(named, ()), _WORD)


claim = intrinsic_of(_add_one, numba.int64)
"""(address): count up by one; what it was before."""

_seen = intrinsic_of(_read, numba.int64)
_let_others = intrinsic_of(_yield, numba.int64)


@kernel
def wait(address, count):  # type: ignore[no-untyped-def]
    """Until `count` pieces are done."""
    spins = 0
    while _seen(address) < count:
        spins += 1
        if spins > _SPINS:
            _let_others()
