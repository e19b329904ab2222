"""Known-answer tests: what finds wrong bits that no hardware reports.

An image carries a stimulus that uses each of its dendrites, and what must come of it. Each sample is given its events in its
first step, and nothing in its second, in which membranes only decay: so the test can be run in place, linked to whatever it may
be, before an answer of another layer could come back. Half of the samples start from a fresh state; the others get the same
events with membranes so low that no neuron fires, as a reset would hide what a wrong weight has added.
"""

from __future__ import annotations

import hashlib

import msgspec
import numpy as np

from synfire.base.errors import UserError
from synfire.devices.darwin3.chip import Chip, Events
from synfire.devices.darwin3.image import KnownAnswer, OperatorImage, Slot
from synfire.devices.darwin3.limits import ChipLimits
from synfire.devices.darwin3.link import link
from synfire.devices.darwin3.linkable import Linkable, PieceName
from synfire.devices.darwin3.linked import Linked
from synfire.devices.darwin3.site import PORT_AT
from synfire.devices.darwin3.words import Coordinate, Kind, read_dendrite_heads
from synfire.ops import Array

SAMPLES, STEPS = 4, 2

LOW = -(2**14)
"""The membranes from which the second half of the samples starts."""

PIXELS = 8
"""Places of a map at which a kernel is tried; of an all-to-all dendrite every row is."""

_ALONE = "image"


def proven(image: OperatorImage, limits: ChipLimits) -> OperatorImage:
    """The image with a known answer, found by running it alone on a fresh emulated chip."""
    sources = tuple(f"slot {number}" for number in range(len(image.slots)))
    linked = link({_ALONE: Linkable(image, sources, exported=True)}, limits)
    chip = Chip(limits)
    for write in linked.writes():
        chip.configure(write.core, write.memory, write.address, write.words)
    stimulus = _stimulus(image)
    membranes, spikes = _run(chip, linked, _ALONE, stimulus)
    digests = tuple(_digests(each) for each in membranes)
    packed = np.packbits(spikes).tobytes()
    return msgspec.structs.replace(image, known=KnownAnswer(stimulus.astype("<i4").tobytes(), digests, packed))


def testable(linked: Linked, name: str) -> bool:
    """Whether an operator's known-answer test can be run where it is linked.

    Its image needs a known answer, and the host's events have to reach all of its dendrites: past a dead link only those are
    relayed that the host feeds anyway.
    """
    image = linked.linkables[name].image
    relayed = any((PORT_AT, core) in linked.relays for _, core in _homes(linked, name))
    return image.known is not None and (not relayed or len(linked.table.fed(name)) == len(image.slots))


def wrong_pieces(chip: Chip, linked: Linked, name: str) -> list[PieceName]:
    """Run an operator's known-answer test where it is linked; the pieces that answer otherwise.

    What runs on the chip is begun anew, so this is for idle moments and for after an adoption. Only for an operator that is
    `testable`. Raises `UserError` for an image without a known answer.
    """
    linkable = linked.linkables[name]
    known = linkable.image.known
    if known is None:
        raise UserError(
            f"the image of {name!r} has no known answer; compile it with an ImageCache, which proves its images"
        )
    membranes, _ = _run(chip, linked, name, known.events())
    steps = 1 if name in linkable.sources else STEPS  # its own spikes are back in the second step
    return [
        (name, number)
        for number, each in enumerate(membranes)
        if _digests(each)[:steps] != known.membranes[number][:steps]
    ]


def _run(chip: Chip, linked: Linked, name: str, stimulus: Array) -> tuple[list[Array], Array]:
    """Membranes of each piece `(step, sample, neuron)`, and the spikes `(step, sample, element)` that left the chip."""
    image = linked.linkables[name].image
    chip.begin(2 * SAMPLES)
    chip.resume({core: _beginning(linked, (name, number)) for number, core in _homes(linked, name)})
    membranes: list[list[Array]] = [[] for _ in image.pieces]
    spikes = np.zeros((STEPS, 2 * SAMPLES, image.layout.size), np.bool_)
    for step in range(STEPS):
        out = chip.step(_events(linked, name, stimulus) if step == 0 else None)
        for number, found in enumerate(membranes):
            found.append(chip.read_state(linked.places[name, number]))
            if (first := linked.exports.get((name, number))) is not None:
                sample, element = left(image, number, first, out)
                spikes[step, sample, element] = True
    return [np.stack(each) for each in membranes], spikes


def _homes(linked: Linked, name: str) -> list[tuple[int, Coordinate]]:
    """The operator's pieces and their cores."""
    return [(number, linked.places[name, number]) for number in range(len(linked.linkables[name].image.pieces))]


def _beginning(linked: Linked, piece: PieceName) -> Array:
    """The state of a piece's neurons in each sample, as `Chip.resume` takes it."""
    state = np.zeros((2 * SAMPLES, 4, linked.linkables[piece[0]].image.neurons(piece[1])), np.int16)
    state[SAMPLES:, 0] = LOW
    return state


def left(image: OperatorImage, number: int, first: int, events: Events) -> tuple[Array, Array]:
    """(sample, element) of the events that a piece exported from number `first` sent out of the chip."""
    piece = image.piece(number)
    own = (events.dendrite >= first) & (events.dendrite < first + piece.channels)
    channel = piece.first_channel + events.dendrite[own] - first
    return events.sample[own], channel * piece.layout.pixels + events.index[own]


def _events(linked: Linked, name: str, stimulus: Array) -> Events:
    image = linked.linkables[name].image
    parts = []
    for number, slot in enumerate(image.slots):
        sample, channel, index = stimulus[stimulus[:, 1] == number][:, [0, 2, 3]].T
        for piece, dendrites in enumerate(slot.table()):
            core, dendrites = linked.inlet(linked.places[name, piece], dendrites)
            reached = dendrites[channel] >= 0
            parts.append(Events.at(core, dendrites[channel[reached]], sample[reached], index[reached]))
    return Events.join(*parts)


def _stimulus(image: OperatorImage) -> Array:
    """`(event, 4)` sample, slot, channel, index: every dendrite, and every row of an all-to-all one, in both halves."""
    rng = np.random.default_rng(0)
    parts = []
    for number, slot in enumerate(image.slots):
        places = _places(image, slot, rng)
        sample = rng.integers(0, SAMPLES, len(places))
        parts.append(
            np.stack([sample, np.full(len(places), number), places // slot.pixels, places % slot.pixels], axis=1)
        )
    once = np.concatenate([*parts, np.zeros((0, 4), np.int64)])
    return np.concatenate([once, once + np.array([SAMPLES, 0, 0, 0])])


def _places(image: OperatorImage, slot: Slot, rng: np.random.Generator) -> Array:
    every = np.arange(slot.channels * slot.pixels)
    if slot.pixels <= PIXELS or not _kernels(image, slot):
        return every
    tried = rng.permuted(every.reshape(slot.channels, slot.pixels), axis=1)[:, :PIXELS]
    return tried.ravel()


def _kernels(image: OperatorImage, slot: Slot) -> bool:
    """Whether the slot's dendrites are convolutions."""
    table = slot.table()
    piece, channel = np.argwhere(table >= 0)[0] if (table >= 0).any() else (0, 0)
    words = np.frombuffer(image.pieces[piece].dendrite, "<u8")
    return bool(read_dendrite_heads(words[table[piece, channel]])[0][0] == Kind.KERNEL)


def _digests(membranes: Array) -> tuple[str, ...]:
    """One for each step."""
    return tuple(hashlib.sha256(each.astype("<i2").tobytes()).hexdigest() for each in membranes)
