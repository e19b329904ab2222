"""What a baseline is, and which there are."""

from __future__ import annotations

import hashlib
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

from synfire.base import paths
from synfire.bench.frameworks import Case
from synfire.ops import Array

PACKAGES = ("torch", "onnxscript", "onnxruntime", "openvino")
"""What has to be importable for `baselines()`."""

THREADS = (1, 2)

Call = Callable[[], dict[str, Array]]
"""Answers a case's requests: the outputs of its graph, `(time, batch, *shape)`."""


class Baseline(ABC):
    """Another way to compute a graph of spiking layers, with the same weights."""

    name: ClassVar[str]

    @abstractmethod
    def settings(self, case: Case) -> Iterator[tuple[str, Call]]:
        """The case, ready to be answered, by every setting that may be the fastest.

        Raises `UserError` for an operator that cannot be computed in this way.
        """

    def plainest(self, case: Case) -> Call:
        """The case at whichever setting is there soonest: for what it computes, not for how long it takes."""
        return next(self.settings(case))[1]


def baselines() -> tuple[Baseline, ...]:
    """All of them. Imports `PACKAGES`."""
    from synfire.bench.baselines.compiled import CompiledTorch
    from synfire.bench.baselines.exported import OnnxRuntime, OpenVino

    return CompiledTorch(), OnnxRuntime(), OpenVino()


def kept(case: Case, made_with: str, suffix: str, make: Callable[[Path], None]) -> Path:
    """The file that `make` writes for a case, from `SYNFIRE_CACHE` if it is there; to compile takes longer than to measure."""
    code = [Path(__file__).with_name(name).read_text() for name in ("net.py", "neuron.py")]
    content = "\n".join([case.graph.content_digest(), str(case.steps), str(case.batch), made_with, *code])
    file = paths.cache() / "expert" / f"{hashlib.sha256(content.encode()).hexdigest()[:32]}{suffix}"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            make(Path(folder) / file.name)
            (Path(folder) / file.name).rename(file)
    return file


def threads(number: int) -> str:
    """A number of threads in words."""
    return f"{number} thread{'s' if number > 1 else ''}"
