"""What must be so when nobody calls and nothing fails: nothing is held, nobody is missing, nobody is left over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from synfire.bench.soak.processes import Seen
from synfire.bench.soak.served import Worker


@dataclass(frozen=True)
class Rest:
    """What is seen at rest. `crew` tells for each role how many processes there must be, at least and at most.

    `sessions_lost` says that a gateway's end may have left sessions on the workers, which forget them when they have been idle.
    """

    ready: bool
    workers: Sequence[Worker]
    processes: Sequence[Seen]
    crew: Mapping[str, tuple[int, int]]
    unburied: Sequence[int] = ()
    stale: Sequence[Path] = field(default_factory=tuple)
    sessions_lost: bool = False

    def unrest(self) -> str:
        """What is not as it must be, in words; empty where all is well."""
        if not self.ready:
            return "the gateway is not ready"
        for each in self.workers:
            held = {"requests": each.requests, "sessions": each.sessions, "buffered bytes": each.buffered_bytes}
            if self.sessions_lost:
                del held["sessions"]
            for what, count in held.items():
                if count != 0:
                    return f"{each.name} {f'holds {count} {what}' if each.ready else 'does not answer'}"
        return self._population()

    def _population(self) -> str:
        for role in sorted({*self.crew, *(each.role for each in self.processes)}):
            living = [each for each in self.processes if each.role == role]
            fewest, most = self.crew.get(role, (0, 0))
            if not fewest <= len(living) <= most:
                return f"{len(living)} {role} processes live; it should be {fewest} to {most}: {_listed(living)}"
        workers = [each for each in self.processes if each.role == "worker"]
        answering = sum(each.ready for each in self.workers)
        if answering != len(workers):
            return f"{len(workers)} worker processes live, and {answering} of them are known to the gateway: {_listed(workers)}"
        if self.unburied:
            return f"the processes {_listed(self.unburied)} have ended, and nobody has waited for them"
        if self.stale:
            return f"nobody listens at the sockets {_listed(self.stale)}"
        return ""


def _listed(things: Iterable[object]) -> str:
    return ", ".join(str(each) for each in things)
