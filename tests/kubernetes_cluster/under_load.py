"""What happens to a deployment in a cluster while it is called, and what its callers notice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Protocol

from synfire.base.errors import SynfireError
from synfire.cli.infer import run_here
from synfire.graph import flatten
from synfire.ops import Array
from synfire.testing.callers import Callers, until
from synfire.testing.kubernetes import Kubectl
from synfire.zoo import load, sample

MODEL = "svgg-digits"
"""What is served: a model of the zoo, which every image has."""

PORT = 8000


@cache
def known() -> tuple[dict[str, Array], dict[str, Array]]:
    """A request of the model, and the right answer."""
    graph = flatten(load(MODEL))
    inputs = sample(graph)
    return inputs, run_here(graph, inputs)


class Deployment(Protocol):
    """Serves MODEL as `name` at `url`; `whole` says whether everybody is there who is to be, in his place."""

    url: str
    name: str

    def whole(self) -> bool: ...


@contextmanager
def calling(
    deployment: Deployment,
    what: str,
    name: str = "",
    expected: Mapping[str, Array] | None = None,
    again: tuple[type[SynfireError], ...] = (),
) -> Iterator[Callers]:
    """Calls under way for the block, in which something happens; they are looked at when all is well again. What is called is the model, or what
    else is served as `name` and answers the same request as is `expected`. Callers ask `again` after an error of these kinds."""
    inputs, right = known()
    with Callers(deployment.url, name or deployment.name, inputs, expected or right, again=again) as callers:
        callers.longest_s = 0.0
        yield callers
        callers.go_on()
        until(deployment.whole)
        callers.go_on()
    callers.check(what)


def drain(kubectl: Kubectl, node: str) -> None:
    """Have everything leave a node, and let it take Pods again."""
    words = ("--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=120s")
    kubectl("drain", node, *words)
    kubectl("uncordon", node)
