"""Compiled kernel of membranes every discrete choice of which is an attribute: DiscreteLIF, CubaLIF, LeakyIntegrator, CubaLI.

Operations are those of `synfire.ops.membrane` and `synfire.ops.current_based`, in their order. Choices are the same for all of a layer:
they are branches that a processor foresees, once for a vector of neurons. "h > threshold" is "h ≥ the next float32", which is why
`fires_at` is all that tells strict ones, as in `synfire.engines.cpu.neuron_kernels`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils

from synfire.engines.cpu.neuron_kernels import fire
from synfire.engines.cpu.tape import (
    CHOICES,
    EACH,
    EXCEEDED,
    FLOATS,
    FORM,
    INTEGRATING,
    PARAMETER_BYTES,
    PARAMETERS,
    STATE,
    STATE_2,
    TARGET_FORMAT,
    kernel,
)
from synfire.engines.cpu.vectors import LANES, function_of, intrinsic_of, load, store
from synfire.ops.current_based import CURRENT_FIRST, JUMP, MEMBRANE_FIRST
from synfire.ops.membrane import (
    AFTER_CHARGE,
    AT_FIRE,
    BEFORE_CHARGE,
    DECAY,
    DECAY_SUM,
    HARD,
    MULTI,
    NONE,
    RELAX,
    RELAX_LEAK_FIRST,
    SINGLE,
    SOFT,
    TWICE,
)

_WORD, _OCTET, _INTEGER, _FLOAT = ir.IntType(64), ir.IntType(8), ir.IntType(32), ir.FloatType()

_FORMS: Mapping[str, Callable[..., Any]] = {
    RELAX: lambda b, v, x, rate, rest: b.fadd(v, b.fmul(rate, b.fsub(b.fadd(x, rest), v))),
    RELAX_LEAK_FIRST: lambda b, v, x, rate, rest: b.fadd(v, b.fmul(rate, b.fadd(b.fsub(rest, v), x))),
    DECAY: lambda b, v, x, rate, rest: b.fadd(b.fmul(rate, v), x),
    DECAY_SUM: lambda b, v, x, rate, rest: b.fmul(rate, b.fadd(v, x)),
}
"""A membrane, or a current, after one step: `synfire.ops.membrane.integrate`."""

MEMBRANE = "membrane"
"""What a layer gives that does not fire."""

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "integration": tuple(_FORMS),
    "current_integration": tuple(_FORMS),
    "order": (NONE, CURRENT_FIRST, MEMBRANE_FIRST, JUMP),
    "spikes": (MEMBRANE, SINGLE, MULTI),
    "reset": (NONE, HARD, SOFT),
    "reset_at": (AT_FIRE, BEFORE_CHARGE, AFTER_CHARGE, TWICE),
    "floor": (NONE, "v_min"),
}
"""What a layer is free to choose, by the operators' names; two bits each."""

LAID = (
    "rate", "gain", "v_leak", "w_in", "current_rate", "current_leak", "fires_at", "threshold", "v_reset", "v_min", "most",
    "counted",
)  # fmt: skip
"""The parameters, in the order of their rows. No count is above `most`; those of `counted` and more are told of at `EXCEEDED`."""


def choices_of(chosen: Mapping[str, str]) -> int:
    """The choices as a number; the first of each where nothing is said."""
    return sum(values.index(chosen.get(name, values[0])) << 2 * k for k, (name, values) in enumerate(_CHOICES.items()))


class _Step:
    """Writes one time step of some neurons that stand side by side: `h` is where their membrane is kept meanwhile."""

    def __init__(self, b: Any, lanes: int, choices: Any, parameters: Any, apart: Any) -> None:
        self.b, self.lanes, self._choices, self._parameters, self._apart = b, lanes, choices, parameters, apart
        self.kind, self.bytes = (each if lanes == 1 else ir.VectorType(each, lanes) for each in (_FLOAT, _OCTET))
        self.h, self._drive = (cgutils.alloca_once(b, self.kind) for _ in range(2))

    def write(self, current: Any, membrane: Any, synaptic: Any, out: Any, start: Any, exceeded: Any) -> None:
        """From the current to what they give; the addresses are those of the first one's numbers."""
        b, again = self.b, self.b.icmp_signed("!=", start, _WORD(0))
        x, v = load(b, current, self.kind), load(b, membrane, self.kind)
        with b.if_then(again):
            store(b, load(b, start, self.kind), current)
        over = b.fcmp_ordered(">=", v, self._own("fires_at"))
        b.store(v, self.h)
        with self._when("reset_at", BEFORE_CHARGE):
            self._reset(over)
        self._charge(x, synaptic)
        with self._when("spikes", MEMBRANE):
            store(b, b.load(self.h), out)
        with self._when("spikes", SINGLE):
            self._fire(over, out)
        with self._when("spikes", MULTI):
            self._fire_several(out, exceeded)
        with self._when("floor", "v_min"):
            low, zero = self._own("v_min"), ir.Constant(self.kind, None)
            above = b.fsub(b.load(self.h), low)
            b.store(b.fadd(b.select(b.fcmp_ordered("<", above, zero), zero, above), low), self.h)
        store(b, b.load(self.h), membrane)

    def _charge(self, x: Any, synaptic: Any) -> None:
        b = self.b
        b.store(x, self._drive)
        with self._when("order", CURRENT_FIRST, MEMBRANE_FIRST, JUMP):
            i, fed, rate = load(b, synaptic, self.kind), b.fmul(self._own("w_in"), x), self._own("current_rate")
            with b.if_else(self._is("order", JUMP)) as (jumps, moves):
                with jumps:
                    jumped = b.fadd(i, fed)
                    store(b, b.fsub(jumped, b.fmul(rate, jumped)), synaptic)
                    b.store(jumped, self._drive)
                with moves:
                    moved = self._integrated("current_integration", i, fed, rate, self._own("current_leak"))
                    store(b, moved, synaptic)
                    b.store(b.select(self._is("order", CURRENT_FIRST), moved, i), self._drive)
        driven = b.fmul(self._own("gain"), b.load(self._drive))
        rate, rest = self._own("rate"), self._own("v_leak")
        b.store(self._integrated("integration", b.load(self.h), driven, rate, rest), self.h)

    def _fire(self, over: Any, out: Any) -> None:
        b = self.b
        with self._when("reset_at", AFTER_CHARGE, TWICE):
            self._reset(over)
        fired = b.fcmp_ordered(">=", b.load(self.h), self._own("fires_at"))
        store(b, b.zext(fired, self.bytes), out)
        with self._when("reset_at", AT_FIRE):
            self._reset(fired)
        with self._when("reset_at", TWICE):
            apart = b.fsub(b.uitofp(fired, self.kind), b.uitofp(over, self.kind))
            b.store(b.fsub(b.load(self.h), b.fmul(apart, self._own("threshold"))), self.h)

    def _fire_several(self, out: Any, exceeded: Any) -> None:
        b, h, zero = self.b, self.b.load(self.h), ir.Constant(self.kind, None)
        threshold, most = self._own("threshold"), self._own("most")
        quotient = b.fdiv(h, threshold)
        least = b.select(b.fcmp_ordered("<", quotient, most), quotient, most)
        whole = _INTEGER if self.lanes == 1 else ir.VectorType(_INTEGER, self.lanes)
        counts = b.sitofp(b.fptosi(b.select(b.fcmp_ordered(">", h, zero), least, zero), whole), self.kind)
        store(b, counts, out)
        with b.if_then(self._any(b.fcmp_ordered(">=", counts, self._own("counted"))), likely=False):
            store(b, _WORD(1), exceeded)
        with b.if_else(self._is("reset", SOFT)) as (soft, otherwise):
            with soft:
                b.store(b.fsub(h, b.fmul(counts, threshold)), self.h)
            with otherwise:
                self._reset(b.fcmp_ordered(">", counts, zero))

    def _reset(self, fired: Any) -> None:
        """`synfire.ops.membrane.after_spike`."""
        b = self.b
        with self._when("reset", HARD, SOFT):
            h = b.load(self.h)
            left = b.select(self._is("reset", HARD), self._own("v_reset"), b.fsub(h, self._own("threshold")))
            b.store(b.select(fired, left, h), self.h)

    def _integrated(self, name: str, v: Any, x: Any, rate: Any, rest: Any) -> Any:
        b = self.b
        done, *ways = (b.append_basic_block() for _ in range(1 + len(_FORMS)))
        form = b.switch(self._choice(name), ways[-1])
        for number, way in enumerate(ways[:-1]):
            form.add_case(_WORD(number), way)
        found = []
        for way, integrated in zip(ways, _FORMS.values(), strict=True):
            b.position_at_end(way)
            found.append(integrated(b, v, x, rate, rest))
            b.branch(done)
        b.position_at_end(done)
        value = b.phi(self.kind)
        for way, each in zip(ways, found, strict=True):
            value.add_incoming(each, way)
        return value

    def _own(self, name: str) -> Any:
        """A parameter of these neurons."""
        row = self.b.mul(self._apart, _WORD(LAID.index(name)))
        return load(self.b, self.b.add(self._parameters, row), self.kind)

    def _any(self, true: Any) -> Any:
        """Whether it is true of one of them."""
        if self.lanes == 1:
            return true
        return self.b.icmp_unsigned("!=", self.b.bitcast(true, ir.IntType(self.lanes)), ir.IntType(self.lanes)(0))

    def _choice(self, name: str) -> Any:
        place = _WORD(2 * list(_CHOICES).index(name))
        return self.b.and_(self.b.lshr(self._choices, place), _WORD(3))

    def _is(self, name: str, *values: str) -> Any:
        """Whether the layer has chosen one of these values."""
        first, *others = (
            self.b.icmp_signed("==", self._choice(name), _WORD(_CHOICES[name].index(value))) for value in values
        )
        for other in others:
            first = self.b.or_(first, other)
        return first

    def _when(self, name: str, *values: str) -> Any:
        return self.b.if_then(self._is(name, *values))


def _layer(
    b: Any, choices: Any, each: Any, parameters: Any, apart: Any, size: Any, current: Any, v: Any, i: Any, out: Any, item: Any,
    start: Any, exceeded: Any,
) -> None:  # fmt: skip
    """A vector of neurons at a time, then four, then one: nothing is touched beyond the last one."""
    done = _WORD(0)
    for lanes in (LANES, 4, 1):
        until = b.and_(size, _WORD(-lanes))
        with cgutils.for_range_slice(b, done, until, _WORD(lanes), inc=True) as (m, _):
            shift = b.shl(m, _WORD(2))
            step = _Step(b, lanes, choices, b.add(parameters, b.mul(each, shift)), apart)
            begun = b.select(b.icmp_signed("==", start, _WORD(0)), start, b.add(start, shift))
            onto = b.add(out, b.mul(item, m))
            step.write(b.add(current, shift), b.add(v, shift), b.add(i, shift), onto, begun, exceeded)
        done = until


def _call(
    b: Any, choices: Any, each: Any, parameters: Any, apart: Any, size: Any, current: Any, v: Any, i: Any, out: Any, item: Any,
    start: Any, exceeded: Any,
) -> None:  # fmt: skip
    arguments = choices, each, parameters, apart, size, current, v, i, out, item, start, exceeded
    function_of(b, "synfire.integrate", _layer, *arguments)


_integrate = intrinsic_of(_call, numba.void)


@kernel
def fire_or_integrate(op, current, shift, target, first, size, start):  # type: ignore[no-untyped-def]
    """One step of the `size` neurons from `first` on of the sample whose states lie `shift` bytes behind the first one's; `current` is the
    address of theirs, `target` that of the frame. The current becomes what is at `start` again, unless that is 0.
    """
    state = shift + 4 * first
    if op[FORM] != INTEGRATING:
        fire(op, current, op[STATE] + state, target + first, first, size, start)
        return
    item, own = 4 if op[TARGET_FORMAT] == FLOATS else 1, op[PARAMETERS] + 4 * first * op[EACH]
    _integrate(
        op[CHOICES], op[EACH], own, op[PARAMETER_BYTES], size, current, op[STATE] + state, op[STATE_2] + state,
        target + item * first, item, start, op[EXCEEDED],
    )  # fmt: skip
