"""Whether memory is bounded: what each process holds at rest, from one rest to the next, and at the most."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from synfire.bench.soak.judgement import Violation
from synfire.bench.soak.processes import Seen

WARM_S = 60.0
"""Until it is so old a process may grow: caches fill, and the allocator keeps what the first heavy loads needed at their peak."""

GROWTH_BYTES = 24 * 2**20
"""How much more a process may hold at a rest than at its first one once it is warm.

At rest nothing is held for anybody, so what has come since is a cache, a fragment of the allocator, or lost. Caches
are full by then, and fragments do not grow for ever: a gateway was seen to gain 1.2 MB within the first minute after that.
A soak of 15 minutes sends 100,000 requests or more, so that 250 bytes lost with each are found; an hour finds a quarter of that."""

GROWTH_FILES = 16
"""The same of open files and sockets: a worker that comes or goes, and the looking at it, change a handful."""

MOST_BYTES = 2**30
"""What no process may ever hold: an interpreter with numpy and numba takes 0.2 GB, the models' parameters some MB, and the
frames of a few dozen small requests less than one."""


@dataclass
class Memory:
    """The processes at every rest, and the most that each role ever held."""

    rests: list[tuple[float, list[Seen]]] = field(default_factory=list)
    most_bytes: dict[str, int] = field(default_factory=dict)

    def look(self, seen: Iterable[Seen]) -> None:
        """Now and then: what is held now. Raises `Violation` for a process that holds more than any may."""
        for each in seen:
            self.most_bytes[each.role] = max(self.most_bytes.get(each.role, 0), each.rss_bytes)
            if each.rss_bytes > MOST_BYTES:
                raise Violation(f"{each} holds more than {MOST_BYTES / 2**20:.0f} MiB")

    def rest(self, at_s: float, seen: Iterable[Seen]) -> None:
        """Nobody calls: what is held for nobody. Raises `Violation` for a process that holds ever more."""
        now = list(seen)
        self.rests.append((at_s, now))
        for each in now:
            before = self._first(each)
            grown, files = each.rss_bytes - before.rss_bytes, each.files - before.files
            if grown > GROWTH_BYTES or files > GROWTH_FILES:
                raise Violation(
                    f"{each} holds {grown / 2**20:.1f} MiB and {files} files more at rest than when it was {before.age_s:.0f} s old"
                )

    def grown_bytes(self) -> dict[str, int]:
        """The most that a process of each role held more at a rest than at its first one once it was warm."""
        found: dict[str, int] = {}
        for _, seen in self.rests:
            for each in seen:
                found[each.role] = max(found.get(each.role, 0), each.rss_bytes - self._first(each).rss_bytes)
        return found

    def _first(self, process: Seen) -> Seen:
        """The process as it was at its first rest once it was warm; as it is, where there was none."""
        same = (each for _, seen in self.rests for each in seen if (each.pid, each.born) == (process.pid, process.born))
        return next((each for each in same if each.age_s >= WARM_S), process)
