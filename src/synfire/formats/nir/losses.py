"""What an import may lose, and only when the user names it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from synfire.base.errors import LossyImport, UnknownName

KNOWN = {
    "r": "a resistance (or w_in) that the preset's framework leaves out is taken to be what the framework assumes",
    "v_leak": "a rest potential that the preset's framework has no place for is taken to be its reset potential or 0",
    "v_reset": "a reset potential that the preset's framework leaves out is taken to be 0",
    "delay": "a delay that is not a whole number of time steps is rounded",
    "unknown_fields": "fields of a node that NIR 1.0 does not define are left out",
}


@dataclass(frozen=True)
class Losses:
    """The losses that the user accepted."""

    allowed: frozenset[str]

    @classmethod
    def of(cls, allow: str | Iterable[str]) -> Losses:
        """From an `allow=` argument. Raises `UnknownName` for a loss that cannot happen."""
        names = frozenset([allow] if isinstance(allow, str) else allow)
        for name in names - set(KNOWN):
            raise UnknownName.among("loss of a NIR import", name, KNOWN)
        return cls(names)

    def accept(self, loss: str, message: str) -> None:
        """Raise `LossyImport` unless the user allowed `loss`."""
        if loss not in self.allowed:
            raise LossyImport(loss, message)
