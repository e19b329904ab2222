"""The integer neurons of a core: registers, programs, and one time step of each model.

All arithmetic is on integers; sat(·) clips to 16 bits; `·P >> 8` multiplies with a Q8 parameter and rounds down (assumed).
V is the membrane, I the current, A the adaptation, s the neuron's own spike one step before, T the threshold word, ΣW the
sum of the weights that arrived in this step, clipped once, at the end (assumed: order does not matter)::

    IF        V = sat(V + ΣW)
    IF_BIAS   V = sat(V + ΣW + P1)
    CLIF      I = sat((I · P4 >> 8) + ΣW)                     P4 = 0: no memory of the current, a plain LIF
              V = sat((V · P0 >> 8) + I + P1)
    ALIF      A = sat((A · P2 >> 8) + P3 · s)                 (assumed; doi:10.1038/s42256-021-00397-w in integers)
              θ = sat(T + A)
              V = sat((V · P0 >> 8) + ΣW + P1 − θ · s)

Fire: S = [V ≥ T], for ALIF [V ≥ θ]. Then the register RESET: HARD V = V_RESET where S, SOFT V = sat(V − T) where S, NONE as it is
(ALIF resets by −θ in the next step, whatever the register says).

The state of neuron n is four words, at `section · 4096 + n`: V, T, I (ALIF: s), residue (ALIF: A). Published: that there are
these four, the CLIF equation, the number of registers. Assumed: their order, which register is which, the programs' words.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from synfire.devices.darwin3.words import Words

SECTION = 4096
Q8 = 256


class Model(IntEnum):
    """The neurons that a core runs. Each has a `program`."""

    IF = 1
    IF_BIAS = 2
    CLIF = 3
    ALIF = 4


class State(IntEnum):
    """The sections of the state memory: word `section · 4096 + neuron`."""

    MEMBRANE = 0
    THRESHOLD = 1
    CURRENT = 2
    RESIDUE = 3


class Reset(IntEnum):
    """Values of the register RESET."""

    HARD = 0
    SOFT = 1
    NONE = 2


class Register(IntEnum):
    """Addresses in the register memory: 32 for the configuration, then the 16 running ones, P0 first."""

    NEURONS = 0
    WEIGHT_BITS = 1
    RESET = 2
    V_RESET = 3
    P0 = 32
    P1 = 33
    P2 = 34
    P3 = 35
    P4 = 36


# opcode 5 bits | first operand 5 | second operand 6; the opcodes' numbers are assumed
_LOAD, _DECAY, _ADD, _FIRE, _ADAPT, _RESET, _STORE, _END = range(1, 9)


def _instruction(opcode: int, first: int = 0, second: int = 0) -> int:
    return opcode << 11 | first << 6 | second


_V, _T, _I, _A = State
END = _instruction(_END)
"""The last instruction of every program."""

_HEAD, _TAIL = (_instruction(_LOAD, _V),), (_instruction(_FIRE, _V, _T), _instruction(_RESET, _V), END)
PROGRAMS = {
    Model.IF: (*_HEAD, _instruction(_ADD, _V), *_TAIL),
    Model.IF_BIAS: (*_HEAD, _instruction(_ADD, _V), _instruction(_ADD, _V, Register.P1), *_TAIL),
    Model.CLIF: (
        *_HEAD,
        _instruction(_LOAD, _I),
        _instruction(_DECAY, _I, Register.P4),
        _instruction(_ADD, _I),
        _instruction(_DECAY, _V, Register.P0),
        _instruction(_ADD, _V, Register.P1),
        _instruction(_STORE, _I),
        *_TAIL,
    ),
    Model.ALIF: (
        *_HEAD,
        _instruction(_LOAD, _A),
        _instruction(_ADAPT, _A, Register.P2),
        _instruction(_DECAY, _V, Register.P0),
        _instruction(_ADD, _V, Register.P1),
        _instruction(_STORE, _A),
        _instruction(_FIRE, _V, _T),
        END,
    ),
}
"""The instructions of each model, as words."""


def program(model: Model) -> Words:
    """The words of a model's program (their encoding is assumed; a core runs these four and no others)."""
    return np.array(PROGRAMS[model], np.uint64)
