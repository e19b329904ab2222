"""The frameworks that synfire is compared with: a graph's counterpart in each, set up as its own documents advise for speed."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from synfire.base.errors import UserError
from synfire.graph import Graph
from synfire.ops import Array

Call = Callable[[], dict[str, Array]]
"""One request to a framework's net, from fresh state."""


@dataclass(frozen=True)
class Contender:
    """A framework in one of its ways. `neurons` is where in `synfire.testing` its neurons are, as `file:function`.

    Time is folded into the batch between neurons, unless the framework's users write nets `stepwise`.
    """

    name: str
    package: str
    neurons: str
    stepwise: bool = False
    compiled: bool = False

    def net(self, graph: Graph) -> Any:
        """The counterpart of a graph. Raises `UserError` for a neuron that the framework does not have."""
        from synfire.testing.counterpart import Counterpart

        file, _, function = self.neurons.partition(":")
        neurons = getattr(importlib.import_module(f"synfire.testing.{file}"), function)
        return Counterpart(graph, neurons, self.stepwise).eval()


CONTENDERS = (
    Contender("spikingjelly", "spikingjelly", "counterpart:spikingjelly_neuron"),
    Contender("snntorch", "snntorch", "counterpart:snntorch_neuron", stepwise=True),
    Contender("norse", "norse", "norse:norse_neuron"),
    Contender("norse compiled", "norse", "norse:norse_neuron", compiled=True),
)
"""Norse has no C++ since 1.1, whose release notes name torch.compile for speed; its tests compile whole nets."""


def installed(compiled: bool = True) -> tuple[Contender, ...]:
    """Those that can run here. Raises `UserError` where one is to be compiled, and nothing is there to do so."""
    found = tuple(
        each for each in CONTENDERS if find_spec(each.package) is not None and (compiled or not each.compiled)
    )
    if any(each.compiled for each in found) and shutil.which("g++") is None:
        raise UserError(
            "torch compiles Norse's nets with g++, and there is none; on Debian and Ubuntu: apt install g++"
        )
    return found


def named(*names: str) -> tuple[Contender, ...]:
    return tuple(each for each in CONTENDERS if each.name in names)


def versions() -> dict[str, str]:
    """Which frameworks were compared with; SpikingJelly's two generations need an environment and a run each."""
    packages = dict.fromkeys(["torch", *(each.package for each in CONTENDERS)])
    return {name: version(name) for name in packages if find_spec(name) is not None}


def require(*packages: str) -> None:
    """Raises `UserError` that says what is missing of the packages to compare with."""
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise UserError(
            f"this benchmark compares with {' and '.join(packages)}, and {' and '.join(missing)} cannot be imported; "
            "`make parity` installs them; then run the benchmark with .venv-parity-2/bin/synfire"
        )


class Entered(NamedTuple):
    """The calls by `name/threads`, and by name why others have none."""

    calls: dict[str, Call]
    refused: dict[str, str]


def entered(graph: Graph, inputs: Mapping[str, Array], contenders: Iterable[Contender]) -> Entered:
    """A graph put to contenders, each with one torch thread and with all of them."""
    import torch

    tensors = {name: torch.from_numpy(array.astype(np.float32)) for name, array in inputs.items()}
    found = Entered({}, {})
    for contender in contenders:
        try:
            net = contender.net(graph)
        except UserError as error:
            found.refused[contender.name] = str(error)
            continue
        run = _compiled(net) if contender.compiled else net
        for threads in sorted({1, torch.get_num_threads()}):
            found.calls[f"{contender.name}/{threads}"] = _Call(net, run, tensors, threads)
    return found


def _compiled(net: Any) -> Any:
    """The whole net as one graph of torch's, for its own shapes. Only so many are kept, so those before it are forgotten."""
    import torch

    torch.compiler.reset()
    return torch.compile(net, fullgraph=True, dynamic=False)


@dataclass
class _Call:
    net: Any
    run: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    inputs: Mapping[str, Any]
    threads: int

    def __call__(self) -> dict[str, Array]:
        import torch

        torch.set_num_threads(self.threads)
        with torch.inference_mode():
            self.net.reset()
            return {name: tensor.numpy() for name, tensor in self.run(self.inputs).items()}
