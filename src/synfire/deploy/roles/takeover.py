"""What controllers before this one have left running: it is asked what it holds, and counted on again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from synfire.base.clock import SystemClock
from synfire.base.errors import SynfireError
from synfire.base.log import LOGGER
from synfire.control.adoption import Found, Hosted, taken_over
from synfire.control.state import State
from synfire.deploy.crew import CrewProcess, RemoteCrew
from synfire.deploy.ledger import Ledger
from synfire.deploy.local import LocalDeployment
from synfire.deploy.remote import RemoteGateways
from synfire.deploy.running import RunningWorker

ANSWER_S = 3.0
"""How long a worker may take to say what it holds. One that takes longer hangs, and is replaced."""


class Takeover:
    """Of a deployment, along its ledger and what the crew knows; so many controllers were there `before`. `run` is done once."""

    def __init__(
        self, ledger: Ledger, deployment: LocalDeployment, gateways: RemoteGateways, crew: RemoteCrew, before: int
    ) -> None:
        self._ledger = ledger
        self._deployment = deployment
        self._gateways = gateways
        self._crew = crew
        self._before = before

    async def run(self, written: State, kept: frozenset[int]) -> list[CrewProcess]:
        """Go on with what runs; recoveries with the ids `kept` are on record. Nothing that is in order is disturbed.

        Returns the workers of other machines that have joined since that was `written`: they have still to arrive.
        """
        deployment, healing = self._deployment, self._deployment.healing
        deployment.known.answers |= self._ledger.answers
        deployment.known.agreements |= self._ledger.agreements
        deployment.hosts.take_over(self._ledger.hosts, self._ledger.homes)
        processes = await self._crew.known()
        late = [each for each in processes.values() if each.joined and each.name not in written.workers]
        processes = {name: each for name, each in processes.items() if each not in late}
        running = {name: process for name, process in processes.items() if process.is_ready}
        there = await self._reached(running)
        holding = {name: held for name, (_, held) in there.items()}
        found = Found(holding, set(processes) - set(running), kept, self._before)
        healing.take_over(*taken_over(written, found, SystemClock().now_s()))
        for name, (worker, _) in there.items():
            await self._gateways.reach(name, worker.address, worker.http)
            deployment.workers.take_on(name, worker, anew=False)
        return late

    async def _reached(self, running: Mapping[str, CrewProcess]) -> dict[str, tuple[RunningWorker, Hosted]]:
        """The workers that answer, with what each holds."""
        found = await asyncio.gather(*(self._reach(name, process) for name, process in running.items()))
        return {name: there for name, there in zip(running, found, strict=True) if there is not None}

    async def _reach(self, name: str, process: CrewProcess) -> tuple[RunningWorker, Hosted] | None:
        """The worker, and the epochs of the stages that it holds; None for one that does not answer, which is ended."""
        try:
            async with asyncio.timeout(ANSWER_S):
                worker = await self._deployment.workers.running(process, process.joined)
                stages = (await worker.peer.describe()).stages
        except (SynfireError, TimeoutError) as error:
            LOGGER.warning("worker %s is not taken over: %s", name, error or f"no answer within {ANSWER_S} s")
            process.kill()
            return None
        return worker, {(each.model, each.stage): each.epoch for each in stages}
