"""The record of what `synfire serve` runs, which `ps`, `stop` and `fault` read."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

from synfire.base.errors import TemporaryError
from synfire.base.log import LOGGER
from synfire.base.processes import born
from synfire.chains import Joined
from synfire.cli import runs
from synfire.deploy.join.joined import JoinedWorker
from synfire.deploy.roles.serving import Supervised
from synfire.deploy.settings import Settings
from synfire.plan import Plan
from synfire.wire.chain import ChainBrief
from synfire.wire.condition import Condition
from synfire.wire.messages import Standing

AGAIN_S = 1.0
"""How long until the record is written again that could not be."""


class Book:
    """The deployment's record for `ps`, `stop` and `fault`, written anew whenever it has changed."""

    def __init__(self, running: Supervised, settings: Settings, chains: Sequence[Joined] = ()) -> None:
        self._running = running
        self._settings = settings
        self._chains = tuple(runs.RunChain(each.chain.name, each.order, each.chain.called) for each in chains)
        self._written: runs.Run | None = None
        self._closed = False

    def write(self) -> runs.Run:
        """Write it down, and return it. Raises what stands against it."""
        run = self._present()
        if run != self._written:
            runs.register(run)
            self._written = run
        return run

    def renew(self) -> None:
        """Write it down, or, where that cannot be for now, as on a full disk, try again a little later: who has changed something
        must not fail for it."""
        if self._closed:
            return
        try:
            self.write()
        except (TemporaryError, OSError) as error:
            LOGGER.warning("`synfire ps` does not tell the latest: %s", error)
            asyncio.get_running_loop().call_later(AGAIN_S, self.renew)

    def close(self) -> None:
        """The deployment ends."""
        self._closed = True
        self._running.supervisor.on_change(lambda: None)
        if self._written is not None:
            runs.forget(self._written.id)

    def _present(self) -> runs.Run:
        addresses, supervisor = self._running.addresses, self._running.supervisor
        standing = supervisor.standing
        return runs.Run(
            id=addresses.url.rpartition(":")[2],
            url=addresses.url,
            grpc=addresses.grpc,
            metrics=addresses.metrics,
            pid=os.getpid(),
            born=born(os.getpid()),
            workers=self._workers(),
            deployment=supervisor.deployment,
            models=tuple(self._model(plan, standing) for plan in standing.plans),
            roles=self._roles(),
            spares=standing.spares,
            spares_wanted=standing.spares_wanted,
            store=self._settings.store is not None,
            rules=standing.rules,
            chains=self._chains + tuple(map(_chain, standing.chains)),
        )

    def _model(self, plan: Plan, standing: Standing) -> runs.RunModel:
        name = plan.model
        return runs.RunModel(
            name,
            standing.sources.get(name, ""),
            plan.to_json(),
            self._settings.priorities.get(name, 0),
            standing.conditions.get(name, Condition()),
        )

    def _workers(self) -> tuple[runs.RunWorker, ...]:
        supervisor = self._running.supervisor
        hands = {each.name: each for each in supervisor.standing.workers}
        return tuple(
            runs.RunWorker(
                name,
                said.pid,
                said.http,
                "" if (joined := isinstance(worker, JoinedWorker)) else born(said.pid),
                said.addresses[0],
                supervisor.standing.hosts.get(name, ""),
                joined,
                hand.cores if (hand := hands.get(name)) else None,
                hand.free_cores if hand else None,
            )
            for name, worker in sorted(supervisor.workers.items())
            if (said := worker.announcement) is not None
        )

    def _roles(self) -> tuple[runs.RunRole, ...]:
        supervisor = self._running.supervisor
        return tuple(
            runs.RunRole(name, role.process.pid, born(role.process.pid), supervisor.urls.get(name, ""))
            for name, role in supervisor.roles.items()
        )


def _chain(told: ChainBrief) -> runs.RunChain:
    return runs.RunChain(told.name, told.steps, told.models, told.reason)
