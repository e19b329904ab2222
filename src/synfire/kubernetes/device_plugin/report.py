"""What the node is told of its chips: which devices there are, which of them are healthy, and labels. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from synfire.base.errors import UserError

Place = tuple[int, int]
"""Where a chip sits on its board, in chips."""

_RESOURCE = re.compile(r"(?P<domain>[a-z0-9]([-a-z0-9.]*[a-z0-9])?)/(?P<name>[A-Za-z0-9]([-\w.]*[A-Za-z0-9])?)")
_LABEL_NAME = 63


@dataclass(frozen=True)
class Report:
    """A chip as its own tests found it.

    `cores` counts, by class, those that live and answer right; `whole` counts all that the chip was made with. `cut_off` of the
    usable ones are behind dead links, and take relays. `neurons_per_core` and `events_per_s` may be 0: unknown.
    """

    chip: str
    place: Place
    alive: bool
    cores: Mapping[str, int]
    whole: int
    cut_off: int = 0
    dead: tuple[Place, ...] = ()
    wrong: tuple[Place, ...] = ()
    neurons_per_core: int = 0
    events_per_s: float = 0.0
    emulated: bool = True

    @property
    def usable(self) -> int:
        """Cores that a stage can be put on."""
        return sum(self.cores.values()) if self.alive else 0


@dataclass(frozen=True)
class Sharing:
    """How a chip becomes devices, which v1beta1 knows as healthy or not, and in no other way.

    A chip is announced as `parts` devices. The n-th of them, from 1, is healthy while the chip has n × `least_cores` usable cores:
    so a device that a container is given stands for that many cores, and each time that many are dead there is one less. None
    means: nine tenths of a chip that is announced whole, and an even share of one that is divided.
    """

    parts: int = 1
    least_cores: int | None = None

    def least(self, whole: int) -> int:
        """Cores that a device stands for, of a chip that was made with `whole`. Raises `UserError` for a share that is none."""
        least = self.least_cores or (whole * 9 // 10 if self.parts == 1 else whole // self.parts)
        if not 1 <= self.parts * least <= whole:
            raise UserError(
                f"{self.parts} devices of {least} cores do not fit a chip of {whole}; ask for fewer parts or fewer cores each"
            )
        return least


@dataclass(frozen=True)
class Announced:
    """A device as the kubelet sees it; `keps` are the thousands of events a second that it stands for, 0 where these are not known."""

    id: str
    chip: str
    place: Place = field(compare=False)
    cores: int = 0
    healthy: bool = True
    keps: int = field(default=0, compare=False)


def announced(reports: Iterable[Report], sharing: Sharing) -> tuple[Announced, ...]:
    """The devices of these chips, in the order of the reports."""
    return tuple(each for report in reports for each in _parts(report, sharing))


def labels(reports: Sequence[Report], resource: str, free: Mapping[str, int] | None = None) -> dict[str, str]:
    """What the node's chips can hold, as node labels: chips, usable cores by class, neurons, thousands of events a second; and what is `free` of
    the cores, where that is known.

    KEPS are what the slowest living chip took in its own test, to two digits, so that a label does not change with each test.
    """
    alive = [each for each in reports if each.alive]
    cores = Counter[str]()
    for each in alive:
        cores.update(each.cores)
    found = {
        "chips": len(reports),
        "chips-alive": len(alive),
        **{f"cores-{kind}": cores[kind] for kind in sorted({kind for each in reports for kind in each.cores})},
        **{f"cores-{kind}-free": count for kind, count in sorted((free or {}).items())},
        "neurons": sum(each.usable * each.neurons_per_core for each in alive),
        "keps": _two_digits(min((each.events_per_s for each in alive), default=0.0) / 1000),
        "emulated": str(any(each.emulated for each in reports)).lower(),
    }
    return {f"{resource}.{name}": str(value) for name, value in found.items()}


def free_cores(reports: Iterable[Report], devices: Iterable[Announced], taken: Collection[str]) -> dict[str, int]:
    """Usable cores by class that a container can still be given. No core belongs to a part of a chip: of one that has several they are told in
    even shares of each class."""
    found, known = Counter[str](), tuple(devices)
    for report in reports:
        healthy = [each.id for each in known if each.chip == report.chip and each.healthy]
        left = sum(each not in taken for each in healthy)
        found.update({kind: count * left // len(healthy) if healthy else 0 for kind, count in report.cores.items()})
    return dict(found)


def require_resource(resource: str) -> str:
    """The name, if the kubelet takes it and labels can be made of it. Raises `UserError`."""
    found = _RESOURCE.fullmatch(resource)
    if found is None or len(found["name"]) > _LABEL_NAME - len(".chips-alive") or len(found["domain"]) > 253:
        raise UserError(f"{resource!r} is no name of an extended resource; write DOMAIN/NAME, such as zj.com/darwin3")
    if found["domain"] == "kubernetes.io" or found["domain"].endswith(".kubernetes.io"):
        raise UserError(
            f"{resource!r}: Kubernetes keeps that domain for itself; write one of your own, such as zj.com/darwin3"
        )
    return resource


def _parts(report: Report, sharing: Sharing) -> Iterable[Announced]:
    least = sharing.least(report.whole)
    for number in range(sharing.parts):
        name = report.chip if sharing.parts == 1 else f"{report.chip}.{number}"
        keps = int(report.events_per_s / 1000 / sharing.parts)
        yield Announced(name, report.chip, report.place, least, report.usable >= (number + 1) * least, keps)


def _two_digits(value: float) -> int:
    return int(float(f"{value:.1e}"))
