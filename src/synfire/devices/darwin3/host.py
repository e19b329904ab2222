"""The host's side of a linked stage: what it sends to the chip, what it reads, and when.

Layer by layer a stage lags behind: population p computes step t of the graph at chip step t + latency[p]. So the host sends
each layer's inputs and biases that much later, writes a layer's membranes just before its first step of a block, and reads
them just after its last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from synfire.devices.darwin3.chip import Chip, Events
from synfire.devices.darwin3.compile import Compiled
from synfire.devices.darwin3.image import Slot
from synfire.devices.darwin3.ir import CLOCK, Output
from synfire.devices.darwin3.known import left
from synfire.devices.darwin3.linkable import Linkable
from synfire.devices.darwin3.words import Coordinate
from synfire.devices.mending import DeviceFault
from synfire.ops import Array, State

SEEN = "steps"
"""The state's name for how many steps a request has seen."""


@dataclass(frozen=True, eq=False)
class Feed:
    """A slot that the host feeds; `dendrites` `(piece, element)` is where an element of the source goes, −1 for nowhere."""

    source: str
    target: str
    slot: Slot
    dendrites: Array
    index: Array


def feeds(compiled: Compiled) -> tuple[Feed, ...]:
    """Inputs, biases, and what delayed synapses carry from one block into the next."""
    return tuple(
        _feed(source, name, slot)
        for name, slot, source in _slots(compiled)
        if source not in compiled.linked.linkables or slot.delay_steps
    )


def delays(compiled: Compiled) -> dict[str, int]:
    """How many steps back each source is read, of those whose spikes have to be remembered."""
    found: dict[str, int] = {}
    for _, slot, source in _slots(compiled):
        if slot.delay_steps and source != CLOCK:
            found[source] = max(found.get(source, 0), slot.delay_steps)
    return found


def fresh_state(compiled: Compiled, batch: int) -> State:
    """Membranes by population, remembered spikes by source, steps seen."""
    network = compiled.network
    sizes = {**network.inputs, **{name: each.size for name, each in network.populations.items()}}
    state: State = {f"{name}/v": np.zeros((batch, sizes[name]), np.int16) for name in network.populations}
    for source, depth in delays(compiled).items():
        state[f"{source}/spikes"] = np.zeros((batch, depth, sizes[source]), np.int32)
    return state | {SEEN: np.zeros(batch, np.int64)}


def run_block(
    compiled: Compiled, chip: Chip, sent: tuple[Feed, ...], state: State, inputs: Mapping[str, Array], steps: int
) -> tuple[State, dict[str, Array]]:
    """Advance by `steps` graph steps; `inputs` are `(steps, batch, *shape)`. Nothing of the requests stays on the chip.

    Raises `DeviceFault` as soon as the chip reports that something has broken since the block began.
    """
    if not steps:
        return dict(state), {}
    block, health = _Block(compiled, chip, state, inputs, steps), chip.health()
    chip.begin(block.batch)
    for now in range(steps + max(compiled.network.latency.values(), default=0)):
        block.enter(now)
        events = Events.join(*(part for feed in sent for part in block.events(feed, now)))
        left_chip = chip.step(events)
        if chip.health() is not health:
            raise DeviceFault(f"the chip broke in step {now} of a block; mend it and compute the block again")
        block.leave(now, left_chip)
    return block.after(), block.outputs()


def _slots(compiled: Compiled) -> Iterator[tuple[str, Slot, str]]:
    for name, each in compiled.linked.linkables.items():
        for slot, source in zip(each.image.slots, each.sources, strict=True):
            yield name, slot, source


def _feed(source: str, target: str, slot: Slot) -> Feed:
    channel = slot.channel()
    dendrites = np.where(channel < 0, -1, slot.table()[:, channel])
    return Feed(source, target, slot, dendrites, np.maximum(slot.index(), 0))


def _spikes(counts: Array) -> tuple[Array, Array]:
    """(sample, element) of each spike in counts `(batch, element)`; a count of n is n spikes."""
    at = np.flatnonzero(counts)
    times = counts.reshape(-1)[at].astype(np.int64)
    if (times != 1).any():
        at = np.repeat(at, times)
    return at // counts.shape[1], at % counts.shape[1]


class _Block:
    """Some time steps of some requests under way."""

    def __init__(self, compiled: Compiled, chip: Chip, state: State, inputs: Mapping[str, Array], steps: int) -> None:
        self.network, self.linked, self.scales = compiled.network, compiled.linked, compiled.whole.scales
        self.chip, self.state, self.steps = chip, state, steps
        self.batch = len(state[SEEN])
        self.depths = delays(compiled)
        self.ticks: dict[Feed, list[Events]] = {}  # the clock's, which are the same in every step of the block
        self.membranes: dict[str, Array] = {}
        self.readings: dict[str, list[Array]] = {
            each.terms[0][0]: [] for each in self.network.outputs.values() if each.membrane
        }
        self.spikes = {
            name: np.zeros((steps, self.batch, each.image.layout.size), np.uint8)
            for name, each in self.linked.linkables.items()
            if each.exported
        }
        self.given = {name: inputs[name].reshape(steps, self.batch, size) for name, size in self.network.inputs.items()}

    def enter(self, now: int) -> None:
        """Write the membranes of the layers whose first step this is; a fresh chip has those of a fresh request."""
        entering: dict[Coordinate, Array] = {}
        for name, latency in self.network.latency.items():
            if latency == now and (membranes := self.state[f"{name}/v"]).any():
                for number, core in self._cores(name):
                    own = membranes[:, self._image(name).image.piece(number).elements()]
                    entering[core] = np.zeros((self.batch, 4, own.shape[1]), np.int16)
                    entering[core][:, 0] = own
        if entering:
            self.chip.resume(entering)

    def events(self, feed: Feed, now: int) -> list[Events]:
        """What goes into a slot at chip step `now`; a count of n is n events."""
        step = now - self.network.latency[feed.target]
        if not 0 <= step < self.steps:
            return []
        step -= feed.slot.delay_steps
        if feed.source != CLOCK or step < 0:
            return list(self._events(feed, self._source(feed, step)))
        if feed not in self.ticks:
            self.ticks[feed] = list(self._events(feed, np.ones((self.batch, feed.slot.size), np.bool_)))
        return self.ticks[feed]

    def _events(self, feed: Feed, counts: Array) -> Iterator[Events]:
        sample, element = _spikes(counts)
        if not len(sample):
            return
        for number, at in self._cores(feed.target):
            core, dendrites = self.linked.inlet(at, feed.dendrites[number][element])
            heard = np.flatnonzero(dendrites >= 0)
            yield Events.at(core, dendrites[heard], sample[heard], feed.index[element[heard]])

    def leave(self, now: int, events: Events) -> None:
        """Take the spikes that left the chip, and the membranes that are due."""
        for (name, number), first in self.linked.exports.items():
            step = now - self.network.latency[name]
            if 0 <= step < self.steps:
                sample, element = left(self._image(name).image, number, first, events)
                self.spikes[name][step, sample, element] = 1
        for name, latency in self.network.latency.items():
            if name in self.readings and 0 <= now - latency < self.steps:
                self.readings[name].append(self._membranes(name))
            if now - latency == self.steps - 1:
                self.membranes[name] = self._membranes(name)

    def after(self) -> State:
        """The state behind the block."""
        state: State = {f"{name}/v": membranes for name, membranes in self.membranes.items()}
        for source, depth in self.depths.items():
            latest = self.given[source] if source in self.given else self.spikes[source]
            known = [self.state[f"{source}/spikes"], latest.transpose(1, 0, 2)]
            state[f"{source}/spikes"] = np.concatenate(known, axis=1)[:, -depth:].astype(np.int32)
        return state | {SEEN: self.state[SEEN] + self.steps}

    def outputs(self) -> dict[str, Array]:
        """The outputs of all steps, in the graph's shapes and kinds."""
        return {name: self._output(each) for name, each in self.network.outputs.items()}

    def _output(self, output: Output) -> Array:
        shape, kind = (self.steps, self.batch, *output.signal.shape), output.signal.kind
        if output.membrane:
            ((name, _),) = output.terms
            scale = np.repeat(self.scales[name], self.network.populations[name].size // len(self.scales[name]))
            values: Array = np.stack(self.readings[name]) / scale
            return values.astype(kind.dtype).reshape(shape)
        total = np.zeros((output.signal.size, self.steps, self.batch), kind.dtype)
        for name, rows in output.terms:
            emitted = self.spikes[name].transpose(2, 0, 1)
            np.add.at(total, rows.targets, emitted[rows.of_row].astype(kind.dtype))
        return np.ascontiguousarray(total.transpose(1, 2, 0)).reshape(shape)

    def _source(self, feed: Feed, step: int) -> Array:
        """`(batch, element)`: a source's spikes at a step of this block, or, before it, as the state remembers them."""
        if feed.source == CLOCK:
            ticking = self.state[SEEN] + step >= 0
            return np.broadcast_to(ticking[:, None], (self.batch, feed.slot.size))
        if step < 0:
            return np.asarray(self.state[f"{feed.source}/spikes"][:, step])
        if feed.source in self.given:
            return np.asarray(self.given[feed.source][step])
        return np.zeros((self.batch, feed.slot.size), np.uint8)  # these are under way on the chip itself

    def _membranes(self, name: str) -> Array:
        image = self._image(name).image
        found = np.zeros((self.batch, image.layout.size), np.int16)
        for number, core in self._cores(name):
            found[:, image.piece(number).elements()] = self.chip.read_state(core)
        return found

    def _image(self, name: str) -> Linkable:
        return self.linked.linkables[name]

    def _cores(self, name: str) -> Iterator[tuple[int, tuple[int, int]]]:
        for number in range(len(self._image(name).image.pieces)):
            yield number, self.linked.places[name, number]
