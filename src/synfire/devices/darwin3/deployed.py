"""A stage on a chip that is kept right: linked around what dies, written again or moved where its answers are wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from synfire.base.errors import PermanentError, UserError
from synfire.devices.darwin3.allotted import allotted
from synfire.devices.darwin3.chip import Chip
from synfire.devices.darwin3.compile import Compiled
from synfire.devices.darwin3.faults import Health
from synfire.devices.darwin3.injection import named
from synfire.devices.darwin3.known import testable, wrong_pieces
from synfire.devices.darwin3.linkable import PieceName
from synfire.devices.darwin3.linked import Linked, Relinked, Write, whole_core
from synfire.devices.darwin3.relink import relink
from synfire.devices.darwin3.symbols import label
from synfire.devices.darwin3.words import Coordinate
from synfire.devices.mending import DeviceFault, DeviceLost, Mending, Story

Cores = frozenset[Coordinate]


class Deployed:
    """A compiled stage, and the chip that it has for itself; in a container with chips of a node, one with the same dead cores as the node's.

    `answer` gives the stage's known answer as the chip computes it now. What it gives when `learn` is called is right, and
    what every later answer is compared with.
    """

    def __init__(self, compiled: Compiled, answer: Callable[[], str]) -> None:
        self.compiled = compiled
        self.chip = Chip(compiled.linked.limits)
        self._answer = answer
        self._right = ""
        self._retired: Cores = frozenset()
        self._allotted = allotted()
        self._hear()
        self._handled = self.chip.health()
        if self._handled.dead_cores:
            self.compiled = replace(compiled, linked=relink(compiled.linked, self._handled).linked)
        self._write(self.linked.writes())

    @property
    def linked(self) -> Linked:
        """Where everything is now."""
        return self.compiled.linked

    @property
    def ailing(self) -> bool:
        """Whether the chip, or the node of which it is, has reported something that was not seen to yet."""
        self._hear()
        return self.chip.health() is not self._handled

    def require_well(self) -> None:
        """Raise `DeviceFault` when the chip is ailing: what it computes is void."""
        if self.ailing:
            cause, target = _news(self._handled, self.chip.health())
            raise DeviceFault(f"{cause}: {target}; mend the device and compute again")

    def learn(self) -> None:
        """Take what the stage answers now for right."""
        self._right = self._answer()

    def adopt(self, relinked: Relinked) -> None:
        """Go on with another linking of the same images: write the words that differ."""
        self._write(relinked.writes)
        self.compiled = replace(self.compiled, linked=relinked.linked)

    def recover(self) -> Relinked:
        """Link around what the chip reports as dead, and no more. Raises `UserError` when no spare core will do."""
        self._handled = self.chip.health()
        relinked = relink(self.linked, self._broken())
        self.adopt(relinked)
        return relinked

    def mend(self) -> Mending:
        """Link around what the chip reports as dead, and prove that it answers right. Raises `DeviceLost`."""
        story = Story(self.chip.reported_s)
        story.end("detect")
        cause, target = _news(self._handled, self.chip.health())
        return self._mended(story, cause, target, frozenset())

    def examine(self) -> Mending | None:
        """Do the known-answer tests of every operator, and of the whole; mend what is wrong. None when all is well.

        Whatever runs on the chip is begun anew. Raises `DeviceLost`.
        """
        story = Story(time.monotonic())
        wrong = self._wrong(self.linked.linkables) if not self.ailing else frozenset()
        if self.ailing:
            return self.mend()
        if not wrong:
            return None
        story.end("detect")
        return self._mended(story, "corruption", _named(wrong), wrong)

    def _hear(self) -> None:
        """Break what the node says is broken."""
        for fault in self._allotted.news() if self._allotted is not None else ():
            self.chip.inject(fault)

    def _mended(self, story: Story, cause: str, target: str, wrong: Cores) -> Mending:
        before, bytes_before = self.linked.places, self.chip.written_bytes
        try:
            rewritten = self._settle(story, wrong)
        except UserError as error:
            raise DeviceLost(cause, target, f"{target}: {error}", story.spans[0].began_s) from error
        written = self.chip.written_bytes - bytes_before
        done = [*_moves(before, self.linked.places), *([f"{_named(rewritten)} written again"] if rewritten else [])]
        detail = "; ".join(done) or ("spikes go round it" if written else "nothing used it")
        return Mending(cause, target, detail, story.spans, written)

    def _settle(self, story: Story, wrong: Cores) -> Cores:
        """Until everything answers right: write wrong cores again, and move off those for which that did not help.

        Returns the cores that were rewritten and stayed in use. Every turn but the first writes or retires a core for the first
        time, or was caused by another fault, so it ends.
        """
        rewritten: Cores = frozenset()
        suspects = set(self.linked.linkables if wrong else ())
        while True:
            if not self.chip.health().alive:
                raise DeviceLost("chip dead", "the chip", "the chip answers nothing any more", self.chip.reported_s)
            self._retire(wrong & rewritten)
            rewritten |= wrong
            self._handled = self.chip.health()
            suspects |= self._relink(story, wrong - self._retired)
            wrong = self._wrong(suspects)
            story.end("verify")
            if not wrong and not self.ailing:
                return rewritten - self._retired

    def _relink(self, story: Story, wrong: Cores) -> set[str]:
        """Link around all that is dead or retired, and write what differs, and `wrong` cores; the operators that moved."""
        relinked = relink(self.linked, self._broken())
        new = {core for _, core in relinked.moved.values()}
        cores = relinked.linked.cores
        again = [write for core in sorted(wrong & cores.keys()) for write in whole_core(core, cores[core])]
        self._write([*again, *(write for write in relinked.writes if write.core in new)])
        story.end("adopt")
        self._write(write for write in relinked.writes if write.core not in new)
        self.compiled = replace(self.compiled, linked=relinked.linked)
        story.end("relink")
        return {name for name, _ in relinked.moved}

    def _wrong(self, names: Iterable[str]) -> Cores:
        """The cores whose pieces of these operators answer wrong; all in use, when the whole does and no piece says why.

        When the chip fails meanwhile, nobody knows, and it is ailing.
        """
        try:
            pieces = [piece for name in names for piece in self._wrong_pieces(name)]
            right = bool(pieces) or self._answer() == self._right or not self._right
        except PermanentError:
            if not self.ailing:
                raise
            return frozenset()
        return frozenset(self.linked.places[piece] for piece in pieces) if right else frozenset(self.linked.cores)

    def _wrong_pieces(self, name: str) -> list[PieceName]:
        return wrong_pieces(self.chip, self.linked, name) if testable(self.linked, name) else []

    def _retire(self, cores: Cores) -> None:
        """Use these cores no more, though they live."""
        self._retired |= cores
        for core in cores - set(self.chip.health().dead_cores):
            self.chip.clear(core)

    def _broken(self) -> Health:
        """What is not to be used: what the chip reports, and what is retired."""
        health = self.chip.health()
        return replace(health, dead_cores=tuple(sorted({*health.dead_cores, *self._retired})))

    def _write(self, writes: Iterable[Write]) -> None:
        for each in writes:
            self.chip.configure(each.core, each.memory, each.address, each.words)


def _news(before: Health, after: Health) -> tuple[str, str]:
    """What broke, and where."""
    if not after.alive:
        return "chip dead", "the chip"
    if cores := set(after.dead_cores) - set(before.dead_cores):
        return "core dead", _named(cores)
    links = {tuple(sorted(link)) for link in set(after.dead_links) - set(before.dead_links)}
    if links:
        return "mesh link dead", ", ".join(f"link {named(one)}-{named(other)}" for one, other in sorted(links))
    return "repair", "the chip"


def _named(cores: Iterable[Coordinate]) -> str:
    found = sorted(cores)
    return f"core{'s' * (len(found) > 1)} {' '.join(map(named, found))}"


def _moves(before: Mapping[PieceName, Coordinate], after: Mapping[PieceName, Coordinate]) -> Iterator[str]:
    for piece, core in before.items():
        if after[piece] != core:
            yield f"{label(piece)} moved from {named(core)} to {named(after[piece])}"
