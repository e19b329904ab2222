"""The ways to go on after a core's death, on one emulated chip and with one compiler.

None is slow on purpose. A whole chip is written without resetting it first, where the published procedure does not ask for that;
cores that a new deployment leaves are turned off by a word each.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar, TypeVar

from synfire.base.errors import Bug
from synfire.bench.arms.chips_networks import LIMITS, Seat, Stage
from synfire.devices.darwin3.compile import Compiled, Options, compile_stage
from synfire.devices.darwin3.faults import Health
from synfire.devices.darwin3.host import feeds
from synfire.devices.darwin3.image import OperatorImage, Source, make_image
from synfire.devices.darwin3.link import bind
from synfire.devices.darwin3.linked import Linked, Relinked, whole_core
from synfire.devices.darwin3.lower import lower
from synfire.devices.darwin3.partition import partition
from synfire.devices.darwin3.relink import Prepared, preload, prepare, relink
from synfire.devices.darwin3.site import Site
from synfire.devices.darwin3.spare import spare_core
from synfire.devices.darwin3.symbols import symbols
from synfire.devices.darwin3.whole import whole

T = TypeVar("T")


class Way(ABC):
    """A way to recover: what stands ready before the fault, and what is done after its report."""

    name: ClassVar[str]
    about: ClassVar[str]
    resets: ClassVar[bool] = False
    """Whether the whole chip is reset before it is written."""

    def seated(self, stage: Stage) -> Seat:
        """The stage on a fresh chip, and whatever else this way wants there beforehand."""
        return Seat(stage.compiled)

    @abstractmethod
    def recover(self, stage: Stage, seat: Seat, health: Health) -> dict[str, float]:
        """Make the chip right again. Returns the seconds that the host took to know what to write, and to send, by step."""


class Toolchain(Way):
    name = "chip-toolchain"
    about = (
        "(a) everything is compiled, the chip reset and written as the published toolchain does it: zigzag, full cores, nothing "
        "kept; by our code, so its compile time is a lower bound"
    )
    resets = True

    def recover(self, stage: Stage, seat: Seat, health: Health) -> dict[str, float]:
        compiled, seconds = _compiled(stage, Options(as_toolchain=True), health)
        seat.chip.reset()
        seat.deploy(compiled)
        return seconds


class Recompile(Way):
    name = "chip-recompile"
    about = "(b) everything is compiled by our compiler and written"

    def recover(self, stage: Stage, seat: Seat, health: Health) -> dict[str, float]:
        compiled, seconds = _compiled(stage, Options(), health)
        seat.deploy(compiled)
        return seconds


class Redeploy(Way):
    name = "chip-redeploy"
    about = "(c) all images are linked again, where they are but for the dead core's, and written"

    def recover(self, stage: Stage, seat: Seat, health: Health) -> dict[str, float]:
        before = seat.compiled.linked
        linked, link_s = _timed(lambda: _linked_again(before, health))
        seat.deploy(replace(seat.compiled, linked=linked))
        return {"link": link_s}


class Cold(Way):
    name = "chip-cold"
    about = "(d) the dead core's operator is compiled again, linked to a free core, and written"

    def recover(self, stage: Stage, seat: Seat, health: Health) -> dict[str, float]:
        before = seat.compiled.linked
        (name,) = {piece[0] for piece, core in before.places.items() if core in health.dead_cores}
        image, compile_s = _timed(lambda: _image_of(stage, name))
        if image != before.linkables[name].image:
            raise Bug(f"{name!r} was compiled to other words than before")
        return {"compile": compile_s, **_adopt(seat, lambda: relink(before, health))}


class Warm(Way):
    name = "chip-warm"
    about = "(d) the dead core's image is linked to a free core and written"

    def recover(self, stage: Stage, seat: Seat, health: Health) -> dict[str, float]:
        return _adopt(seat, lambda: relink(seat.compiled.linked, health))


class Hot(Way):
    name = "chip-hot"
    about = (
        "(d) every piece waits on a spare core too, turned off, and the words that each core's death costs were worked out "
        "beforehand: one word turns the spare on, and axon entries name it"
    )

    def __init__(self) -> None:
        self._prepared: dict[Stage, Prepared] = {}

    def seated(self, stage: Stage) -> Seat:
        if stage not in self._prepared:
            linked = stage.compiled.linked
            for piece in stage.compiled.linked.places:
                linked = preload(linked, piece).linked
            self._prepared[stage] = prepare(linked)
        linked = self._prepared[stage].linked
        seat = Seat(replace(stage.compiled, linked=linked))
        seat.write(write for core, each in linked.loaded.items() for write in whole_core(core, each.image))
        return seat

    def recover(self, stage: Stage, seat: Seat, health: Health) -> dict[str, float]:
        return _adopt(seat, lambda: self._prepared[stage].relink(health))


WAYS: tuple[type[Way], ...] = (Toolchain, Recompile, Redeploy, Cold, Warm, Hot)


def _compiled(stage: Stage, options: Options, health: Health) -> tuple[Compiled, dict[str, float]]:
    """A stage compiled anew, and the seconds of that by step; the processor's time is shared out as the clock's was."""
    compiled, total_s = _timed(lambda: compile_stage(stage.graph, LIMITS, options, health=health))
    _, feeds_s = _timed(lambda: feeds(compiled))
    shares = {name: seconds / sum(compiled.seconds.values()) for name, seconds in compiled.seconds.items()}
    late = {name: total_s * shares[name] for name in ("place", "link")}
    return compiled, {"compile": total_s - sum(late.values()), **late, "feeds": feeds_s}


def _linked_again(before: Linked, health: Health) -> Linked:
    """All images linked as if for the first time, but that no piece needs a place that has one."""
    table, site, places = symbols(before.linkables, LIMITS), Site(LIMITS, health), dict(before.places)
    for piece, core in before.places.items():
        if core in health.dead_cores:
            places[piece] = spare_core(table, piece, places, site, places.values())
    return bind(table, site, places, before)


def _image_of(stage: Stage, name: str) -> OperatorImage:
    """One operator of a stage, compiled from the graph; of the others only what it needs to know of them is worked out."""
    made = whole(lower(stage.graph), Options().bits)
    pieces = partition(made.network, LIMITS, made.bits, Options().piece_words)[name]
    population, arriving = made.network.populations[name], made.network.arriving(name)
    return make_image(Source(population, arriving, pieces, made.scales[name], LIMITS, made.bits))


def _adopt(seat: Seat, relinking: Callable[[], Relinked]) -> dict[str, float]:
    """Link, which is timed, and write what that changes."""
    relinked, link_s = _timed(relinking)
    seat.adopt(relinked)
    return {"link": link_s}


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    """What work gives, and the processor time that it took: what else the machine does is no part of it."""
    start_s = time.process_time()
    found = work()
    return found, time.process_time() - start_s
