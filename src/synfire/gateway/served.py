"""How a deployment's models are served: each under its name and version, replicas of one together."""

from __future__ import annotations

from synfire.gateway.dataplane import DataPlane
from synfire.gateway.replicas import Replicas
from synfire.gateway.route import WorkerRoute
from synfire.store.names import of_replica, parted


class Served:
    """What a deployment calls its models (`name`, `name@version`, `name#replica`), in a data plane."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._names: dict[str, tuple[str, str]] = {}
        self._replicas: dict[str, Replicas] = {}

    def add(self, model: str, route: WorkerRoute, version: str, priority: int = 0) -> None:
        """Serve a model. Raises `UserError` where another one has its name and version."""
        whole, (name, number) = of_replica(model), parted(model, version)
        if whole == model:
            self._plane.add(name, route, number, priority)
        else:
            if whole not in self._replicas:
                replicas = Replicas(route.graph)
                self._plane.add(name, replicas, number, priority)
                self._replicas[whole] = replicas
            self._replicas[whole].add(model, route)
        self._names[model] = name, number

    def close(self, model: str) -> bool:
        """Give a replica no new call as long as there are others; whether it has none."""
        replicas = self._replicas.get(of_replica(model))
        return replicas is None or replicas.shut(model)

    def remove(self, model: str) -> None:
        """Serve a model no longer; of several replicas the others go on."""
        served, replicas = self._names.pop(model), self._replicas.get(of_replica(model))
        if replicas is not None:
            replicas.remove(model)
            if len(replicas):
                return
            del self._replicas[of_replica(model)]
        self._plane.remove(*served)
