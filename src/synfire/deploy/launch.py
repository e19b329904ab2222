"""What a worker process is begun with."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec


@dataclass(frozen=True)
class Launch:
    """A worker that is to be started, to listen at `address` and, if that is not empty, to answer HTTP at `http`.

    `inside` is what its command line begins with, the way into an emulated host for instance; it has only this `device`, if one is
    named. It listens at `outer`, too, for workers of other machines, with the key and the certificate in the file `credential`. It is begun `anew`
    with the code that is installed now, and not from what was loaded before.
    """

    name: str
    deployment: str
    address: str
    http: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    inside: tuple[str, ...] = ()
    device: str = ""
    outer: str = ""
    credential: str = ""
    anew: bool = False

    def command(self, lifeline: int) -> list[str]:
        """The command line; `lifeline` is the descriptor of its end of the lifeline."""
        words = [*self.inside, sys.executable, "-m", "synfire.worker"]
        words += ["--name", self.name, "--deployment", self.deployment, "--listen", self.address]
        words += ["--http", self.http] if self.http else []
        words += ["--listen", self.outer] if self.outer else []
        words += ["--credential", self.credential] if self.credential else []
        words += ["--device", self.device] if self.device else []
        return [*words, "--settings", msgspec.json.encode(dict(self.settings)).decode(), "--lifeline", str(lifeline)]
