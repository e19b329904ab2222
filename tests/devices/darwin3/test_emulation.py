"""The vectorised emulation against a slow and obvious one: one event, one synapse, one neuron at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from synfire.devices.darwin3.chip import Chip, Events
from synfire.devices.darwin3.limits import chip
from synfire.devices.darwin3.neurons import SECTION, Model, Register, State, program
from synfire.devices.darwin3.words import (
    AxonEntry,
    Block,
    Coordinate,
    CoreImage,
    Kernel,
    Kind,
    Memory,
    axon_entries,
    axon_heads,
    dendrite_heads,
    pack_list,
    pack_values,
    pack_weights,
    weights_per_word,
)

CORES: tuple[Coordinate, ...] = ((1, 0), (2, 3), (5, 1))
DENDRITES = 8
ANY = (*range(DENDRITES), 4000)
"""Dendrites that events name: the last one lies beyond what was written."""

Event = tuple[Coordinate, int, int]


def signed(word: int, bits: int) -> int:
    return word - 2**bits if word >= 2 ** (bits - 1) else word


def clip(value: int) -> int:
    return max(-32768, min(32767, value))


class ScalarCore:
    """A core as the words say, decoded anew for every event."""

    def __init__(self, image: CoreImage) -> None:
        self.dendrite, self.axon = ([int(word) for word in each] for each in (image.dendrite, image.axon))
        self.register = [signed(int(word), 16) for word in image.register]
        self.model = next(each for each in Model if list(program(each)) == list(image.program))
        state = {block.address // SECTION: [signed(int(word), 16) for word in block.words] for block in image.state}
        self.neurons = self.register[Register.NEURONS]
        self.v, self.t, self.i, self.a = (state[each] for each in range(4))
        self.sums, self.operations = [0] * self.neurons, 0

    def fields(self, dendrite: int) -> tuple[int, int, int, int] | None:
        if dendrite >= len(self.dendrite) or self.dendrite[dendrite] == 0:
            return None
        word = self.dendrite[dendrite]
        return word >> 29 & 3, (word >> 17 & 4095) + 1, word >> 32, word & 0xFFFF

    def weight(self, number: int) -> int | None:
        bits = self.register[Register.WEIGHT_BITS]
        per = weights_per_word(bits)
        if number // per >= len(self.dendrite):
            return None
        return signed(self.dendrite[number // per] >> (per - 1 - number % per) * bits & 2**bits - 1, bits)

    def synapses(self, dendrite: int, index: int) -> Iterator[tuple[int, int | None]]:
        """(neuron, weight) of one event."""
        kind, count, where, start = self.fields(dendrite) or (0, 0, 0, 0)
        per = weights_per_word(self.register[Register.WEIGHT_BITS])
        for k in range(count):
            if kind == Kind.LIST:
                yield self.dendrite[where + k // 4] >> (3 - k % 4) * 12 & 4095, self.weight(start * per + k)
            elif kind == Kind.RANGE:
                yield where + k, self.weight((start + index * -(-count // per)) * per + k)
        if kind == Kind.KERNEL:
            yield from self.kernel_synapses(Kernel.of(self.dendrite[where : where + 3]), count, start * per, index)

    def kernel_synapses(self, kernel: Kernel, count: int, start: int, index: int) -> Iterator[tuple[int, int | None]]:
        row, column = divmod(index, kernel.in_width)
        for y in range(kernel.out_height):
            for x in range(kernel.out_width):
                for r in range(kernel.kernel[0]):
                    for c in range(kernel.kernel[1]):
                        over_y = y * kernel.stride[0] == row + kernel.top - r * kernel.dilation[0]
                        over_x = x * kernel.stride[1] == column + kernel.left - c * kernel.dilation[1]
                        for o in range(count if over_y and over_x else 0):
                            neuron = kernel.first + (y * kernel.out_width + x) * kernel.pixel + o
                            yield neuron, self.weight(start + (r * kernel.kernel[1] + c) * count + o)

    def arrive(self, dendrite: int, index: int) -> None:
        kind = (self.fields(dendrite) or (0,))[0]
        for neuron, weight in self.synapses(dendrite, index):
            inside = neuron < self.neurons
            if weight is None or (not inside and kind != Kind.LIST):
                continue
            self.operations += 1
            if inside:
                self.sums[neuron] += weight

    def update(self) -> list[int]:
        fired = [n for n in range(self.neurons) if self.update_one(n)]
        self.sums = [0] * self.neurons
        return fired

    def update_one(self, n: int) -> bool:
        p, x, v = [self.register[Register.P0 + k] for k in range(5)], clip(self.sums[n]), self.v[n]
        level = self.t[n]
        if self.model is Model.ALIF:
            self.a[n] = clip((self.a[n] * p[2] >> 8) + p[3] * self.i[n])
            level = clip(level + self.a[n])
            self.v[n] = clip((v * p[0] >> 8) + x + p[1] - level * self.i[n])
            self.i[n] = int(self.v[n] >= level)
            return bool(self.i[n])
        if self.model is Model.CLIF:
            self.i[n] = clip((self.i[n] * p[4] >> 8) + x)
            v = clip((v * p[0] >> 8) + self.i[n] + p[1])
        else:
            v = clip(v + x + (p[1] if self.model is Model.IF_BIAS else 0))
        reset = {0: self.register[Register.V_RESET], 1: clip(v - level), 2: v}[self.register[Register.RESET]]
        self.v[n] = reset if v >= level else v
        return v >= level

    def entries(self, address: int) -> Iterator[AxonEntry]:
        while self.neurons <= address < len(self.axon):
            yield AxonEntry.of(self.axon[address])
            if AxonEntry.of(self.axon[address]).last:
                return
            address += 1


class ScalarChip:
    """One sample on a chip, with relays and routes counted hop by hop."""

    def __init__(self, images: dict[Coordinate, CoreImage]) -> None:
        self.cores = {at: ScalarCore(image) for at, image in images.items()}
        self.fired: list[tuple[Coordinate, int]] = []
        self.lost, self.hops = 0, 0
        self.out: list[Event] = []

    def step(self, events: Iterable[Event]) -> list[Event]:
        self.out = []
        for at, dendrite, index in events:
            self.hops += at[0] + at[1] if at in self.cores else 0
            self.arrive(at, dendrite, index)
        for at, neuron in self.fired:
            head = self.cores[at].axon[neuron]
            self.send(at, head >> 12, head & 4095, sinks=False)
        self.fired = [(at, n) for at in sorted(self.cores) for n in self.cores[at].update()]
        for at, neuron in self.fired:
            head = self.cores[at].axon[neuron]
            self.send(at, head >> 12, head & 4095, sinks=True)
        return self.out

    def arrive(self, at: Coordinate, dendrite: int, index: int) -> None:
        core = self.cores.get(at)
        fields = core.fields(dendrite) if core else None
        if core is None or fields is None:
            self.lost += 1
        elif fields[0] == Kind.RELAY:
            self.send(at, fields[3], index, sinks=False)
            self.send(at, fields[3], index, sinks=True)
        else:
            core.arrive(dendrite, index)

    def send(self, at: Coordinate, address: int, index: int, sinks: bool) -> None:
        """Along the entries from `address`: to the cores, or to the outside, relays on the way in both cases."""
        for entry in self.cores[at].entries(address):
            x, y = target = at[0] + entry.dx, at[1] + entry.dy
            outside = target == (0, 0) or not (0 <= x < 24 and 0 <= y < 24)
            relay = self.relay(target, entry.dendrite)
            if outside == sinks:
                self.hops += abs(max(x, 0) - at[0]) + abs(max(y, 0) - at[1])
            if outside and sinks:
                self.out.append((target, entry.dendrite, index))
            elif relay is not None:
                self.send(target, relay, index, sinks)
            elif not outside and not sinks:
                self.arrive(target, entry.dendrite, index)

    def relay(self, at: Coordinate, dendrite: int) -> int | None:
        fields = self.cores[at].fields(dendrite) if at in self.cores else None
        return fields[3] if fields and fields[0] == Kind.RELAY else None


def random_image(rng: np.random.Generator, at: Coordinate) -> CoreImage:
    """A core with a dendrite of every kind; only the last core, which is nobody's relay, may be relayed to."""
    neurons, bits = int(rng.integers(1, 40)), int(rng.choice([2, 4, 6, 8, 16]))
    per = weights_per_word(bits)
    lists = pack_list(rng.integers(0, neurons + 2, 40))
    side = max(int(np.sqrt(neurons / 2)), 1)
    geometry = Kernel(
        in_width=int(rng.integers(1, 6)),
        out_height=side,
        out_width=side,
        pixel=2,
        kernel=(int(rng.integers(1, 4)), int(rng.integers(1, 4))),
        stride=(int(rng.integers(1, 3)), int(rng.integers(1, 3))),
        dilation=(int(rng.integers(1, 3)), 1),
        first=int(rng.integers(0, 3)),
        top=int(rng.integers(-2, 3)),
        left=int(rng.integers(-2, 3)),
    )
    weights = rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (12, per)).clip(-3000, 3000)
    behind = DENDRITES + len(lists) + 3
    kinds = rng.choice([Kind.LIST, Kind.RANGE, Kind.KERNEL], DENDRITES)
    relay = at == CORES[-1]
    where = np.where(kinds == Kind.LIST, DENDRITES + rng.integers(0, 5, DENDRITES), rng.integers(0, 4, DENDRITES))
    where = np.where(kinds == Kind.KERNEL, DENDRITES + len(lists), where)
    count = np.where(kinds == Kind.KERNEL, rng.integers(1, 3, DENDRITES), rng.integers(1, 30, DENDRITES))
    heads = dendrite_heads(kinds, count, where, behind + rng.integers(0, 10, DENDRITES))
    heads[1] = 0
    if relay:
        heads[0] = dendrite_heads(Kind.RELAY, 1, 0, neurons + rng.integers(0, 3))[0]
    words = np.concatenate([heads, lists, geometry.words(), pack_weights(weights, bits)])
    return CoreImage(words, random_axons(rng, at, neurons), program(model := rng.choice(list(Model))),
                     random_registers(rng, neurons, bits), random_state(rng, neurons, Model(model)))  # fmt: skip


def random_axons(rng: np.random.Generator, at: Coordinate, neurons: int) -> np.ndarray:
    targets = [*CORES[:-1], (0, 0), (-1, at[1]), (9, 9)]
    if at != CORES[-1]:
        targets += [CORES[-1]] * 3
    chosen = [targets[k] for k in rng.integers(0, len(targets), 9)]
    last = rng.random(9) < 0.6
    entries = axon_entries([x - at[0] for x, _ in chosen], [y - at[1] for _, y in chosen], rng.choice(ANY, 9), last)
    heads = axon_heads(neurons + rng.integers(0, 9, neurons), rng.integers(0, 20, neurons))
    heads[rng.random(neurons) < 0.1] = 0
    return np.concatenate([heads, entries])


def random_registers(rng: np.random.Generator, neurons: int, bits: int) -> np.ndarray:
    values = np.zeros(48, np.int64)
    values[Register.NEURONS], values[Register.WEIGHT_BITS] = neurons, bits
    values[Register.RESET], values[Register.V_RESET] = rng.integers(0, 3), rng.integers(-5, 6)
    values[Register.P0 : Register.P4 + 1] = rng.integers(-20, 257, 5)
    return pack_values(values)


def random_state(rng: np.random.Generator, neurons: int, model: Model) -> tuple[Block, ...]:
    parts = [rng.integers(-32768, 32768, neurons) >> rng.integers(0, 12) for _ in range(4)]
    parts[State.THRESHOLD] = rng.integers(-10, 200, neurons)
    if model is Model.ALIF:
        parts[State.CURRENT] = rng.integers(0, 2, neurons)
    return tuple(Block(Memory.STATE, s * SECTION, pack_values(parts[s])) for s in State)


def given_events(rng: np.random.Generator, batch: int) -> list[tuple[int, Event]]:
    targets = [*CORES, (7, 7)]
    return [
        (int(rng.integers(batch)), (targets[rng.integers(4)], int(rng.choice(ANY)), int(rng.integers(20))))
        for _ in range(rng.integers(0, 12))
    ]


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
@example(0, 1)
def test_the_emulation_is_the_slow_and_obvious_one(seed: int, batch: int) -> None:
    rng = np.random.default_rng(seed)
    images = {at: random_image(rng, at) for at in CORES}
    fast, slow = Chip(chip()), [ScalarChip(images) for _ in range(batch)]
    for at, image in images.items():
        fast.load(at, image)
    fast.begin(batch)
    for _ in range(5):
        events = given_events(rng, batch)
        out = Counter(fast.step(Events.join(*(Events.at(at, d, b, i) for b, (at, d, i) in events))))
        expected = Counter((b, *e) for b in range(batch) for e in slow[b].step(e for s, e in events if s == b))
        assert out == expected
        for at in CORES:
            for section, name in ((State.MEMBRANE, "v"), (State.CURRENT, "i"), (State.RESIDUE, "a")):
                if name == "v" or slow[0].cores[at].model is Model.ALIF or name == "i":
                    found = fast.read_state(at, section).tolist()
                    assert found == [getattr(each.cores[at], name) for each in slow], (at, section)
    counted = fast.activity()
    assert counted.operations.tolist() == [[each.cores[at].operations for at in sorted(CORES)] for each in slow]
    assert counted.lost.tolist() == [each.lost for each in slow]
    assert counted.hops.tolist() == [each.hops for each in slow]
