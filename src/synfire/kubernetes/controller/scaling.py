"""How many Pods a pool has that follows what models need: a level, found anew each time. A Pod that hosts a stage is never taken away for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from synfire.kubernetes.controller.observed import Key, Observed
from synfire.kubernetes.controller.reading import Asked
from synfire.kubernetes.controller.serving import NAME
from synfire.kubernetes.manifests.workers import POOL
from synfire.kubernetes.resources import PoolSpec


class Size(NamedTuple):
    """How many `pods` a pool is to have, and how many more would be of use than it may have."""

    pods: int
    short: int = 0


def sizes(pools: Sequence[Asked[PoolSpec]], observed: Observed) -> Mapping[str, Size]:
    """The size of each pool whose spec can be read, by name.

    Of a device as many are needed as host stages, spares among them, and as there are vacancies. Pools of a fixed count take their part
    of that first, those that follow models the rest, in the order of their names.
    """
    specs = {each.name: each.spec for each in pools if each.spec is not None}
    hosting = _hosting(specs, observed)
    needed: Counter[str] = Counter()
    for name, pods in hosting.items():
        needed[specs[name].device] += len(pods)
    needed.update(dict(observed.deployed.vacancies) if observed.deployed is not None else {})
    found = {}
    for name, spec in sorted(specs.items(), key=lambda each: (follows_models(each[1]), each[0])):
        if follows_models(spec):
            found[name] = _followed(name, spec, needed[spec.device], hosting.get(name, ()), observed)
        else:
            found[name] = Size(spec.count)
        if spec.role == "workers":
            needed[spec.device] = max(0, needed[spec.device] - found[name].pods)
    return found


def follows_models(spec: PoolSpec) -> bool:
    """Whether a pool has as many Pods as models need."""
    return spec.autoscale is not None and spec.autoscale.follows == "models"


def _hosting(specs: Mapping[str, PoolSpec], observed: Observed) -> Mapping[str, list[str]]:
    """The Pods of each pool that host a stage."""
    hosts = observed.deployed.hosted if observed.deployed is not None else {}
    found: dict[str, list[str]] = {}
    for pod in observed.pods:
        name, pool = pod["metadata"]["name"], pod["metadata"].get("labels", {}).get(POOL)
        if pool in specs and name in hosts:
            found.setdefault(pool, []).append(name)
    return found


def _followed(name: str, spec: PoolSpec, needed: int, hosting: Sequence[str], observed: Observed) -> Size:
    assert spec.autoscale is not None
    least, most = spec.autoscale.least, spec.autoscale.most
    made = observed.made.get(Key("StatefulSet", f"{NAME}-{name}"))
    if observed.deployed is None:  # nobody says what is needed now
        return Size(made["spec"]["replicas"] if made is not None else least)
    last = max((int(each.rpartition("-")[2]) for each in hosting), default=-1)
    return Size(min(max(needed, least, last + 1), max(most, last + 1)), max(0, needed - most))
