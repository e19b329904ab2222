"""Running deployments: each writes a record under `SYNFIRE_HOME/run`, and removes it when it ends."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path
from typing import Any

import msgspec

from synfire.base import paths
from synfire.base.errors import TemporaryError, UnknownName, UserError
from synfire.base.processes import born
from synfire.deploy.folders import sweep
from synfire.devices import Cores
from synfire.store.files import write_atomically
from synfire.wire.condition import Condition
from synfire.wire.traffic import Rule


class RunWorker(msgspec.Struct, frozen=True):
    """A worker process of a deployment, and where it answers the Open Inference Protocol itself.

    `born` tells its process from a later one with the same number; `address` is where it takes packets, `host` the emulated
    host that it is on. One that has `joined` runs on another machine, at `host`, where its number means something; it is there as long as
    it is listed. Of a device whose cores are counted it may use `cores`, and `free_cores` of them are free; so of events a second.
    """

    name: str
    pid: int
    url: str = ""
    born: str = ""
    address: str = ""
    host: str = ""
    joined: bool = False
    cores: Cores | None = None
    free_cores: Cores | None = None

    @property
    def alive(self) -> bool:
        """Whether its process still runs."""
        return self.joined or born(self.pid) == self.born


class RunRole(msgspec.Struct, frozen=True):
    """The controller's process, or a gateway's, with the URL at which this gateway alone answers."""

    name: str
    pid: int
    born: str
    url: str = ""

    @property
    def alive(self) -> bool:
        """Whether its process still runs."""
        return born(self.pid) == self.born


class RunChain(msgspec.Struct, frozen=True, omit_defaults=True):
    """A served chain: its steps, in their order, and the models that these call; the `reason` says why it cannot be called."""

    name: str
    steps: tuple[str, ...]
    models: tuple[str, ...]
    reason: str = ""


class RunModel(msgspec.Struct, frozen=True):
    """A served model, its plan as plain data, and its priority: when there is no room for all, the lowest go first.

    `condition` is how it is served: as planned, or degraded, waiting or stopped, and why.
    """

    name: str
    source: str
    plan: dict[str, Any]
    priority: int = 0
    condition: Condition = Condition()

    def stages_on(self, worker: str) -> list[str]:
        """The names of its stages on a worker; a model that is stopped has none anywhere."""
        if self.condition.status == "stopped":
            return []
        return [stage["name"] for stage in self.plan["stages"] if stage["worker"] == worker]


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment that is, or was, running. `born` tells its process from a later one with the same number.

    `deployment` is what its processes know each other by; `pid` is its supervisor's, which started the `roles` and the workers.
    `spares` are ready to take over, of `spares_wanted`. `rules` are those by which names answer that are more than a model's. Where `store` says so, models of the store are loaded when they are called.
    """

    id: str
    url: str
    grpc: str
    metrics: str
    pid: int
    born: str
    workers: tuple[RunWorker, ...]
    models: tuple[RunModel, ...]
    deployment: str = ""
    roles: tuple[RunRole, ...] = ()
    spares: int = 0
    spares_wanted: int = 0
    store: bool = False
    rules: tuple[Rule, ...] = ()
    chains: tuple[RunChain, ...] = ()

    @property
    def alive(self) -> bool:
        """Whether its process still runs."""
        return born(self.pid) == self.born


def register(run: Run) -> None:
    """Make the deployment known to `ps` and `stop`."""
    write_atomically(_file(run.id), msgspec.json.encode(run))


def forget(run_id: str) -> None:
    """Remove the record and its sample request; what is gone already is no error."""
    for suffix in (".json", ".request"):
        _file(run_id).with_suffix(suffix).unlink(missing_ok=True)


def running() -> tuple[Run, ...]:
    """The deployments whose process lives; records and run folders of dead ones are removed."""
    sweep()
    found = []
    for file in sorted(_folder().glob("*.json")):
        run = _read(file)
        if run is not None and run.alive:
            found.append(run)
        else:
            forget(file.stem)
    return tuple(found)


def one(run_id: str | None, how: str = "--id ID") -> Run:
    """The deployment of that id, or the only one there is. Raises `UnknownName`, or `UserError` when it is ambiguous, which
    tells `how` a user names one."""
    runs = {run.id: run for run in running()}
    if run_id is None:
        if len(runs) == 1:
            return next(iter(runs.values()))
        raise UserError(
            f"{len(runs)} deployments are running ({', '.join(runs)}); say which one is meant: {how}"
            if runs
            else "no deployment is running; start one with: synfire serve MODEL"
        )
    if run_id not in runs:
        raise UnknownName.among("running deployment", run_id, runs)
    return runs[run_id]


def terminate(run: Run, timeout_s: float) -> None:
    """Ask the deployment to drain and wait until its process has ended.

    Raises `TemporaryError` when it is still draining after `timeout_s`, `UserError` when it is somebody else's.
    """
    try:
        descriptor = os.pidfd_open(run.pid)
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
    except ProcessLookupError:
        return forget(run.id)
    except PermissionError as error:
        raise UserError(
            f"deployment {run.id} (process {run.pid}) belongs to another user; ask them to stop it"
        ) from error
    ended, _, _ = select.select([descriptor], [], [], timeout_s)
    os.close(descriptor)
    if not ended:
        raise TemporaryError(
            f"deployment {run.id} is still answering accepted requests after {timeout_s:.0f} s; call stop again"
        )
    return forget(run.id)


def _folder() -> Path:
    return paths.home() / "run"


def _file(run_id: str) -> Path:
    return _folder() / f"{run_id}.json"


def _read(file: Path) -> Run | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Run)
    except (msgspec.DecodeError, FileNotFoundError):
        return None
