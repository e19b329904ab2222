"""The memories of one core: words written, bits flipped, bits stuck."""

from __future__ import annotations

import numpy as np

from synfire.base.errors import UserError
from synfire.devices.darwin3.words import AXON_BITS, DENDRITE_BITS, STATE_BITS, Memory, Words

WIDTH = {
    Memory.DENDRITE: DENDRITE_BITS,
    Memory.AXON: AXON_BITS,
    Memory.PROGRAM: 16,
    Memory.REGISTER: 32,
    Memory.STATE: STATE_BITS,
}
"""Bits of a word."""


class WordMemory:
    """One memory: `size` words, 0 where nobody wrote; kept up to the highest address written."""

    def __init__(self, memory: Memory, size: int) -> None:
        self.memory = memory
        self.size = size
        self._words: Words = np.zeros(0, np.uint64)
        self._stuck: dict[int, tuple[int, int]] = {}

    def write(self, address: int, words: Words) -> None:
        """Write from `address` on. Raises `UserError` beyond the end or for a word that is too wide, and writes nothing."""
        end = address + len(words)
        if address < 0 or end > self.size:
            raise UserError(
                f"the {self.memory} memory has {self.size} words, and {address} to {end - 1} are written; cut it smaller"
            )
        if len(words) and int(words.max()) >> WIDTH[self.memory]:
            raise UserError(
                f"{self.memory} words have {WIDTH[self.memory]} bits, and {int(words.max()):#x} is wider; pack it with words.py"
            )
        self._reach(end)
        self._words[address:end] = words

    def read(self, address: int = 0, count: int | None = None) -> Words:
        """Words as the core sees them; by default all up to the highest address written."""
        end = len(self._words) if count is None else address + count
        if address < 0 or end > self.size:
            raise UserError(
                f"the {self.memory} memory has {self.size} words, and {address} to {end - 1} are read; ask for fewer"
            )
        found = np.zeros(max(end - address, 0), np.uint64)
        kept = self._words[address:end]
        found[: len(kept)] = kept
        for at, (ones, zeros) in self._stuck.items():
            if address <= at < end:
                found[at - address] = np.uint64((int(found[at - address]) | ones) & ~zeros)
        return found

    def flip(self, address: int, bit: int) -> None:
        """Flip one bit once: writing the word again mends it."""
        self.require_bit(address, bit)
        self._reach(address + 1)
        self._words[address] ^= np.uint64(1 << bit)

    def stick(self, address: int, bit: int, value: int) -> None:
        """Hold one bit at 0 or 1 for good."""
        self.require_bit(address, bit)
        self._reach(address + 1)
        ones, zeros = self._stuck.get(address, (0, 0))
        mask = 1 << bit
        self._stuck[address] = (ones | mask, zeros & ~mask) if value else (ones & ~mask, zeros | mask)

    def unstick(self, address: int, bit: int) -> None:
        """Let a bit hold what is written again."""
        ones, zeros = self._stuck.get(address, (0, 0))
        self._stuck[address] = ones & ~(1 << bit), zeros & ~(1 << bit)

    def require_bit(self, address: int, bit: int) -> None:
        """Raise `UserError` unless there is such a bit."""
        if not (0 <= address < self.size and 0 <= bit < WIDTH[self.memory]):
            raise UserError(
                f"the {self.memory} memory has {self.size} words of {WIDTH[self.memory]} bits, no bit {bit} of word {address}"
            )

    def clear(self) -> None:
        """Forget every word; what is stuck stays."""
        self._words = np.zeros(0, np.uint64)
        for address in self._stuck:
            self._reach(address + 1)

    def _reach(self, end: int) -> None:
        if end > len(self._words):
            grown: Words = np.zeros(end, np.uint64)
            grown[: len(self._words)] = self._words
            self._words = grown
