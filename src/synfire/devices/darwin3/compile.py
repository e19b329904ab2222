"""The whole way from a stage to words on cores, step by step and timed.

Two variants share all code. `compile_stage` places by Hilbert curve and forces, and takes images from the cache. With
`as_toolchain` it does what the public toolchain does: zigzag placement and nothing kept from before; no step is slowed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from synfire.devices.cores import Cores
from synfire.devices.darwin3.cache import ImageCache
from synfire.devices.darwin3.faults import Health
from synfire.devices.darwin3.image import OperatorImage, Source, make_image
from synfire.devices.darwin3.ir import CLOCK, GATE, Network
from synfire.devices.darwin3.limits import ChipLimits
from synfire.devices.darwin3.link import bind, place_pieces
from synfire.devices.darwin3.linkable import DENSITY, Linkable
from synfire.devices.darwin3.linked import Linked
from synfire.devices.darwin3.lower import lower
from synfire.devices.darwin3.partition import PIECE_WORDS, dendrite_words, partition
from synfire.devices.darwin3.place import HILBERT, ZIGZAG
from synfire.devices.darwin3.site import WELL, Site
from synfire.devices.darwin3.symbols import symbols
from synfire.devices.darwin3.timing import read_by_host
from synfire.devices.darwin3.whole import Whole, whole
from synfire.devices.darwin3.words import Coordinate
from synfire.graph import Graph

STEPS = ("lower", "quantise", "partition", "assemble", "place", "link")
"""The steps of a compilation, in order."""


@dataclass(frozen=True)
class Options:
    """How to compile.

    `bits` of a weight; `as_toolchain`: as the public toolchain does; `piece_words`: dendrite words of a piece where that can be
    (the toolchain fills cores); `densities`: spikes per neuron and step by operator, where they were measured.
    """

    bits: int = 8
    as_toolchain: bool = False
    piece_words: int = PIECE_WORDS
    densities: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Compiled:
    """A stage on a chip: what it means (`whole`), where it is (`linked`), and the seconds of each of `STEPS`."""

    whole: Whole
    linked: Linked
    seconds: Mapping[str, float]

    @property
    def network(self) -> Network:
        return self.whole.network

    @property
    def images(self) -> dict[str, OperatorImage]:
        return {name: each.image for name, each in self.linked.linkables.items()}

    @property
    def cores(self) -> Cores:
        """What it takes: a core for each piece. Relays come on top."""
        table = self.linked.table
        return self.linked.limits.need(table.dendrite_words(each) for each in self.linked.places)


def compile_stage(
    graph: Graph,
    limits: ChipLimits,
    options: Options | None = None,
    *,
    cache: ImageCache | None = None,
    health: Health = WELL,
    occupied: Iterable[Coordinate] = (),
) -> Compiled:
    """Compile a flat, simplified stage for one chip and link it onto healthy cores.

    Raises `UserError` for an operator that the chip cannot run, a population that fits no core, or too few cores.
    """
    options, site = options or Options(), Site(limits, health, frozenset(occupied))
    clock = _Clock()
    with clock("lower"):
        network = lower(graph)
    with clock("quantise"):
        made = whole(network, options.bits)
    with clock("partition"):
        sources = _sources(made, site, None if options.as_toolchain else options.piece_words)
    with clock("assemble"):
        linkables = _linkables(made, sources, None if options.as_toolchain else cache, options.densities or {})
    with clock("place"):
        start, refine = (ZIGZAG, False) if options.as_toolchain else (HILBERT, True)
        table = symbols(linkables, limits)
        places = place_pieces(table, site, start=start, refine=refine)
    with clock("link"):
        linked = bind(table, site, places)
    return Compiled(made, linked, clock.seconds)


def cores_of(graph: Graph, limits: ChipLimits, options: Options | None = None) -> Cores:
    """What `compile_stage` would have the stage take of a chip that is whole, and its own: nothing is assembled or placed for that.

    Raises `UserError` for an operator that the chip cannot run, and a population that fits no core.
    """
    made, sources = _divided(graph, limits, options or Options())
    return limits.need(
        dendrite_words(piece, source.arriving, made.bits) for source in sources.values() for piece in source.pieces
    )


def events_of(graph: Graph, limits: ChipLimits, density: Mapping[str, float], options: Options | None = None) -> float:
    """How many events reach cores of such a stage in a time step of one sample: a spike that several pieces read is an event for each, and
    so is a row of biases. `density` is the share of neurons, or elements of an input, that spike in a step, by name; where it is not known
    all do. A piece that reads a part of a map alone is taken to read all of it.

    Raises as `cores_of` does.
    """
    made, sources = _divided(graph, limits, options or Options())
    network = made.network
    return sum(
        _spikes(network, each.source, density, int((each.place >= 0).sum())) * len(sources[each.target].pieces)
        for each in network.projections
    )


def _spikes(network: Network, source: str, density: Mapping[str, float], elements: int) -> float:
    """How many of so many elements of a source spike in a step. What only hands on spikes has as many as it is given."""
    if source == CLOCK:
        return float(elements)
    while source not in density and source in network.populations and network.populations[source].dynamics == GATE:
        source = network.arriving(source)[0].source
    return elements * density.get(source, 1.0)


def _divided(graph: Graph, limits: ChipLimits, options: Options) -> tuple[Whole, dict[str, Source]]:
    """The stage in whole numbers, and in pieces for a chip that is its own."""
    made = whole(lower(graph), options.bits)
    return made, _sources(made, Site(limits), None if options.as_toolchain else options.piece_words)


def _sources(made: Whole, site: Site, most_words: int | None) -> dict[str, Source]:
    """What each operator's image is made from; pieces are as large as cores where there are not cores enough for smaller."""
    limits, pieces = site.limits, partition(made.network, site.limits, made.bits, most_words)
    if sum(map(len, pieces.values())) > len(site.free()):
        pieces = partition(made.network, limits, made.bits)
    return {
        name: Source(each, made.network.arriving(name), pieces[name], made.scales[name], limits, made.bits)
        for name, each in made.network.populations.items()
    }


def _linkables(
    made: Whole, sources: Mapping[str, Source], cache: ImageCache | None, densities: Mapping[str, float]
) -> dict[str, Linkable]:
    exported = read_by_host(made.network)
    return {
        name: Linkable(
            cache.image(source) if cache is not None else make_image(source),
            tuple(each.source for each in source.arriving),
            name in exported,
            densities.get(name, DENSITY),
        )
        for name, source in sources.items()
    }


class _Clock:
    """Seconds by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[step] = time.perf_counter() - start
