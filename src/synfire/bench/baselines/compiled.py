"""The expert's net compiled by torch, ahead of time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch._inductor as inductor

from synfire.bench.baselines.baseline import THREADS, Baseline, Call, kept, threads
from synfire.bench.baselines.net import Net
from synfire.bench.frameworks import Case
from synfire.bench.machine import machine
from synfire.ops import Array


class CompiledTorch(Baseline):
    """torch.compile's inductor, ahead of time: at small sizes half of the time that torch.compile takes with its checks.

    Settings: one thread or two. With convolutions, weights are frozen into the code, which lets these run channels last; without,
    that would be the slower setting. What is compiled is kept in `SYNFIRE_CACHE`.
    """

    name = "torch"

    def settings(self, case: Case) -> Iterator[tuple[str, Call]]:
        frozen = any(case.graph.operator(name).kind in ("Conv1d", "Conv2d") for name in case.graph.order())
        for number in THREADS:
            torch.set_num_threads(number)
            run = inductor.aoti_load_package(str(_compiled(case, number, frozen)))
            yield f"{threads(number)}{', frozen' if frozen else ''}", _TorchCall(run, case, number)

    def plainest(self, case: Case) -> Call:
        return _TorchCall(Net(case.graph, case.steps, case.batch).eval(), case, 1)


def tensors(case: Case) -> tuple[Any, ...]:
    """The inputs as float32, in the graph's order."""
    return tuple(torch.from_numpy(np.array(case.inputs[name], np.float32)) for name in case.graph.inputs)


class _TorchCall:
    """The requests, put to a net with so many threads."""

    def __init__(self, run: Any, case: Case, number: int) -> None:
        self._run, self._inputs, self._names, self._threads = run, tensors(case), tuple(case.graph.outputs), number

    def __call__(self) -> dict[str, Array]:
        torch.set_num_threads(self._threads)
        with torch.inference_mode():
            found = self._run(*self._inputs)
        return {name: each.numpy() for name, each in zip(self._names, found, strict=True)}


def _compiled(case: Case, number: int, frozen: bool) -> Path:
    """The file of the compiled net."""
    configs = {"freezing": frozen, "cpp.threads": number}

    def make(file: Path) -> None:
        with torch.no_grad():
            exported = torch.export.export(Net(case.graph, case.steps, case.batch).eval(), tensors(case))
            inductor.aoti_compile_and_package(exported, package_path=str(file), inductor_configs=configs)

    return kept(case, f"{configs} {torch.__version__} {machine()['cpu']}", ".pt2", make)
