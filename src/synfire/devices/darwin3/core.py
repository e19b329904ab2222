"""One core: its memories, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.devices.darwin3.limits import ChipLimits
from synfire.devices.darwin3.memory import WordMemory
from synfire.devices.darwin3.neurons import END, PROGRAMS, SECTION, Model, Register, State
from synfire.devices.darwin3.words import (
    Coordinate,
    Memory,
    Words,
    read_axon_entries,
    read_axon_heads,
    unpack_list,
    unpack_values,
    unpack_weights,
    weights_per_word,
)
from synfire.ops import Array

_MODELS = {words: model for model, words in PROGRAMS.items()}
_PARAMETERS = (Register.P0, Register.P1, Register.P2, Register.P3, Register.P4, Register.RESET, Register.V_RESET)


@dataclass(frozen=True, eq=False)
class Decoded:
    """What a core's words mean, without the mesh.

    `words`, `lists` and `weights` are the whole dendrite memory read as heads, as neuron numbers and as weights. `head` is the
    number of the entry where neuron n's list begins (−1: nowhere), counted from the first word behind the heads; entry e
    goes `hops[which[e]]` = (dx, dy) to `dendrite[e]`. `cycles`: a program of k instructions takes k cycles a neuron (assumed).
    """

    model: Model
    parameters: Array
    threshold: Array
    cycles: int
    words: Words
    lists: Array
    weights: Array
    per_word: int
    head: Array
    index: Array
    hops: Array
    which: Array
    dendrite: Array
    last: Array


class Core:
    """A core's five memories; decoded when asked, once per change."""

    def __init__(self, limits: ChipLimits, at: Coordinate) -> None:
        self.at = at
        self.kind = limits.kind_at(*at)
        self.memories = {each: WordMemory(each, limits.memory_words(each, self.kind)) for each in Memory}
        self._limits = limits
        self._decoded: Decoded | None = None

    @property
    def neurons(self) -> int:
        """How many neurons run: the register NEURONS, 0 when off."""
        return self.register(Register.NEURONS)

    def register(self, register: Register) -> int:
        """The value of a register."""
        return int(unpack_values(self.memories[Memory.REGISTER].read(int(register), 1))[0])

    def state(self, section: State) -> Array:
        """A section of the state words, `(neurons,)` int16."""
        return unpack_values(self.memories[Memory.STATE].read(int(section) * SECTION, self.neurons))

    def changed(self) -> None:
        """Say that a word changed."""
        self._decoded = None

    def decoded(self) -> Decoded:
        """Raises `UserError` for a program that is none, more neurons or other weights than the core has."""
        if self._decoded is None:
            self._decoded = self._decode()
        return self._decoded

    def _decode(self) -> Decoded:
        neurons, bits = self.neurons, self.register(Register.WEIGHT_BITS)
        self._require(neurons, bits)
        words = self.memories[Memory.DENDRITE].read()
        axon = self.memories[Memory.AXON].read()
        address, index = read_axon_heads(_filled(axon[:neurons], neurons))
        hops, which, dendrite, last = _entries(axon[neurons:])
        program = self._program()
        per = weights_per_word(bits)
        return Decoded(
            model=self._model(program),
            parameters=np.array([self.register(each) for each in _PARAMETERS], np.int32),
            threshold=self.state(State.THRESHOLD),
            cycles=neurons * len(program),
            words=words,
            lists=unpack_list(words).astype(np.uint16),
            weights=unpack_weights(words, bits),
            per_word=per,
            head=np.where((address >= neurons) & (address < len(axon)), address - neurons, -1),
            index=index,
            hops=hops,
            which=which,
            dendrite=dendrite,
            last=last,
        )

    def _require(self, neurons: int, bits: int) -> None:
        limit = self._limits.neurons_per_core or 0
        if not 0 <= neurons <= limit:
            raise UserError(
                f"core {self.at} has at most {limit} neurons, and its register NEURONS says {neurons}; cut the layer"
            )
        if bits not in (self._limits.weight_bits or ()):
            raise UserError(
                f"core {self.at} has weights of {self._limits.weight_bits} bits, and its register WEIGHT_BITS says {bits}; write it"
            )

    def _program(self) -> tuple[int, ...]:
        """The instructions up to the END."""
        words = [int(each) for each in self.memories[Memory.PROGRAM].read()]
        return tuple(words[: words.index(END) + 1] if END in words else words)

    def _model(self, program: tuple[int, ...]) -> Model:
        if program not in _MODELS:
            raise UserError(
                f"core {self.at} holds a program that is none of {', '.join(Model.__members__)}; write neurons.program(model)"
            )
        return _MODELS[program]


def _entries(words: Words) -> tuple[Array, Array, Array, Array]:
    """(distinct hops, which of them, dendrite, last) of axon entries; a list ends at the latest where the memory does."""
    dx, dy, dendrite, last = read_axon_entries(words)
    last[-1:] = True
    keys, which = np.unique(dx * 32 + dy + 16, return_inverse=True)
    return np.stack([keys >> 5, (keys & 31) - 16], axis=1), which, dendrite, last


def _filled(words: Words, size: int) -> Words:
    full: Words = np.zeros(size, np.uint64)
    full[: len(words)] = words
    return full
