"""The worker processes of a deployment: started, counted on, lost, ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from synfire.base.errors import Bug, SynfireError, TemporaryError
from synfire.base.log import LOGGER
from synfire.control.losses import HOST_LOST
from synfire.deploy.folders import make_folder, remove_folder
from synfire.deploy.gateways import Gateways
from synfire.deploy.heartbeat import Heartbeat
from synfire.deploy.hosts import Hosts, returned
from synfire.deploy.join.place import reachable_url
from synfire.deploy.launch import Launch
from synfire.deploy.process import Process, WorkerProcess
from synfire.deploy.running import Listener, Partners, RunningWorker
from synfire.deploy.settings import Settings
from synfire.gateway.peer import WorkerPeer
from synfire.wire.links import Limits, unlink
from synfire.wire.links.address import joined as address_of
from synfire.wire.messages import Joined
from synfire.worker.settings import Settings as WorkerSettings


class Workers(Mapping[str, RunningWorker]):
    """The workers that are counted on, by name. Made and used in one event loop.

    With `partners` they are started by others, and do not end with the deployment. Where the settings do not have it heal,
    nobody looks after them, and they are counted on whatever happens to them.
    """

    def __init__(
        self,
        deployment: str,
        settings: Settings,
        gateways: Gateways,
        listener: Listener,
        partners: Partners | None = None,
        worker_settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.who = f"controller-{deployment}"
        self.limits: Limits = WorkerSettings.of(worker_settings or {}).links
        self.hosts = Hosts(deployment, settings.hosts, settings.spares, partners.owner if partners else None)
        self._deployment = deployment
        self._settings = settings
        self._gateways = gateways
        self._listener = listener
        self._partners = partners
        self._worker_settings = {**settings.of_workers, **(worker_settings or {})}
        self._running: dict[str, RunningWorker] = {}
        self._leaving: list[RunningWorker] = []
        self._away: dict[RunningWorker, asyncio.Task[None]] = {}
        self._heartbeat = Heartbeat(settings.heartbeats, self._suspects, self._starves, self.hosts.fellows)
        self._folder: Path | None = None
        self._stopping = False

    def __getitem__(self, name: str) -> RunningWorker:
        return self._running[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._running)

    def __len__(self) -> int:
        return len(self._running)

    @property
    def away(self) -> tuple[RunningWorker, ...]:
        """The workers that were lost with their hosts, and may come back."""
        return tuple(self._away)

    async def until_all_back(self) -> None:
        """Wait until every worker that was lost with its host is there again, or its process has ended."""
        while self._away:
            await asyncio.wait(self._away.values())

    def living(self, name: str) -> RunningWorker:
        """The worker. Raises `TemporaryError` when it was lost."""
        if name not in self._running:
            raise TemporaryError(f"worker {name} was lost while a model was being hosted on it; try again")
        return self._running[name]

    async def start(self, names: Iterable[str], anew: bool = False) -> None:
        """Start those workers that do not run yet, all at the same time; `anew`, with the code that is installed now. Raises what the first
        that fails says."""
        missing = [name for name in dict.fromkeys(names) if name not in self._running]
        results = await asyncio.gather(*(self._start(name, anew) for name in missing), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def arrive(self, process: Process, joined: Joined) -> None:
        """Count on a worker of another machine, which runs already. One that cannot be reached is ended, and may join again."""
        name = process.name
        try:
            worker = await self.running(process, joined)
            await self._gateways.reach(name, worker.address, worker.http)
        except SynfireError as error:
            LOGGER.warning("worker %s has joined in vain: %s", name, error)
            process.kill()
            return
        self.take_on(name, worker)

    async def running(self, process: Process, joined: Joined | None = None) -> RunningWorker:
        """The worker of a process, once that is ready, with a connection to it. Raises `TemporaryError` when it is not there."""
        said = await process.ready(self._settings.ready_s)
        address, *outer = said.addresses
        peer = await self.reach(process.name, address, shares=joined is None)
        if joined is not None:
            self.hosts.join(process.name, joined.group)
        http = reachable_url(said.http, address) if joined is not None else said.http
        return RunningWorker(process, peer, address, http, outer="".join(outer), joined=joined)

    def outside(self) -> dict[str, dict[str, str]]:
        """Where workers of other machines find those of this one, by the name of either; all others are found where they listen."""
        here = {name: urlsplit(each.outer).port for name, each in self._running.items() if each.outer}
        doors = {name: each.joined.door for name, each in self._running.items() if each.joined is not None}
        return {
            name: {other: address_of("tls", door, port) for other, port in here.items() if port is not None}
            for name, door in doors.items()
        }

    def found_at(self, address: str, by: str) -> str:
        """The worker that another one, `by`, finds at that address; empty where it is gone. What is no address is a name already."""
        ways = self.outside().get(by, {})
        return next((name for name, where in ways.items() if where == address), "" if "://" in address else address)

    async def reach(self, name: str, address: str, greeting_s: float | None = None, shares: bool = True) -> WorkerPeer:
        """A connection to the worker at `address`, which `shares` a disk with this process. Raises `TemporaryError` when it is not
        there."""
        more = () if greeting_s is None else (greeting_s,)
        peer = await WorkerPeer.reach(name, address, self._deployment, self.who, self.limits, *more)
        peer.store = self._partners.store if self._partners and shares else None
        peer.distant = not shares
        return peer

    def take_on(self, name: str, worker: RunningWorker, anew: bool = True, back: bool = False) -> None:
        """Count on a worker from now on, which holds nothing, or, where it is not `anew`, what the controller knows.

        `back` says that it was taken to be lost, so that others may have its work.
        """
        self._running[name] = worker
        peer = worker.peer
        peer.on_lost(lambda error: None if peer.draining else self._lose(name, worker, "broken link"))
        peer.on_draining(lambda: self._leave(name, worker))
        gone = not self._followed(name, worker)
        if self._settings.heal and anew:
            self._listener.worker_ready(name, back)
        if worker.watching is None:
            worker.watching = asyncio.create_task(self._watch(name, worker), name=f"watch {name}")
        self._listener.changed()
        peer.on_report(lambda report: self._listener.worker_reported(name, report))
        if gone or peer.lost is not None:  # before anybody listened
            self._lose(name, worker, "broken link")
        elif peer.draining:
            self._leave(name, worker)

    def lose(self, name: str, cause: str, began_s: float | None = None) -> None:
        """Take a worker to be dead. One that is not counted on is none to lose."""
        if name in self._running:
            self._lose(name, self._running[name], cause, began_s)

    async def renew(self, name: str, successor: str) -> None:
        """Have another worker begun beside one that has joined, and return when it has joined, too. Raises why it has not."""
        if self._partners is None:
            raise Bug(
                f"worker {name} was begun by this deployment, and by nobody else who could begin {successor} beside it"
            )
        await self._partners.crew.renew(name, successor)

    def renew_all(self) -> None:
        """Have all that is begun later begun with the code that is installed now; where nobody has loaded any, that is so anyway."""
        if self._partners is not None:
            self._partners.crew.renew_all()

    async def retire(self, name: str) -> None:
        """End a worker that has nothing left to do, and return when it has ended."""
        worker = self._running.get(name)
        if worker is None or not self._part(name, worker, gone=False):
            return
        worker.process.terminate()
        await worker.process.end(self._settings.stop_s)

    def close(self) -> None:
        """Look after nobody any more; whoever runs goes on."""
        self._stopping = True
        for worker in self._running.values():
            if worker.leaving is not None:
                worker.leaving.cancel()
        self._heartbeat.close()
        for task in self._away.values():
            task.cancel()

    async def end(self) -> None:
        """Drain every worker, end its process, and remove the sockets. Ending twice is no error."""
        for worker in self._away:
            worker.process.kill()  # nobody can ask it to leave; that it runs on this machine after all comes in handy
        for worker in self._running.values():
            worker.process.terminate()
        workers = list(dict.fromkeys([*self._running.values(), *self._leaving]))
        await asyncio.gather(*(worker.process.end(self._settings.stop_s) for worker in workers))
        for worker in workers:
            if worker.watching is not None:
                await worker.watching
            worker.peer.close()
            unlink(worker.address)
        self._running.clear()
        if self._folder is not None:
            remove_folder(self._folder)
            self._folder = None

    def _followed(self, name: str, worker: RunningWorker) -> bool:
        """Expect heartbeats where somebody heals; false when the worker has gone meanwhile."""
        if self._settings.heal:
            try:
                self._heartbeat.follow(name, worker.address, self._deployment, self.who, self.limits)
            except TemporaryError:
                return False
        return True

    async def _start(self, name: str, anew: bool) -> None:
        start = self._partners.crew.start if self._partners else WorkerProcess.start
        launch = replace(self._launch(name), anew=anew)
        process = start(launch)
        try:
            worker = await self.running(process)
            await self._gateways.reach(name, worker.address, worker.http)
        except BaseException as error:
            if self._partners is None or isinstance(error, SynfireError):  # else it is the supervisor's to end
                process.terminate()
                await process.end(self._settings.stop_s)
                unlink(launch.address)
            raise
        self.take_on(name, worker)

    def _launch(self, name: str) -> Launch:
        away = [each.process.name for each in self._away if not each.process.ended]
        host = self.hosts.place(name, self._listener.plans(), away)
        address = f"tcp://{host.address}:0" if host else f"unix:{self._run_folder() / name}.sock"
        http = f"{host.address}:0" if host and self._settings.http else self._settings.http
        inside = tuple(host.inside) if host else ()
        return Launch(name, self._deployment, address, http, self._worker_settings, inside, self._listener.kind(name))

    def _run_folder(self) -> Path:
        """Where the sockets are."""
        if self._partners is not None:
            return self._partners.folder
        if self._folder is None:
            self._folder = make_folder(self._deployment)
        return self._folder

    async def _watch(self, name: str, worker: RunningWorker) -> None:
        code = await worker.process.exited()
        self.hosts.leave(name)
        if self._stopping:
            return None
        if worker.parted and not code:
            LOGGER.info("worker %s has left as it was told to", name)
            return self._forget(name, worker)
        self._lose(name, worker, "exit")
        worker.failure = TemporaryError(await worker.process.obituary())
        LOGGER.error("%s", worker.failure)
        self._listener.worker_died(name, worker.failure)
        return self._forget(name, worker)

    def _forget(self, name: str, worker: RunningWorker) -> None:
        """The worker has ended: nothing of it stays. Gateways that were told of it would look for it whenever another one comes, and take
        whoever comes by its name for the one that they do not find."""
        worker.peer.close()
        unlink(worker.address)
        if worker in self._leaving:
            self._leaving.remove(worker)
        if name not in self._running:
            self._gateways.part(name)

    def _leave(self, name: str, worker: RunningWorker) -> None:
        """The worker was told to go. Those who will take over build its stages while it goes on answering; then these move, the calls that it
        holds are replayed, and it ends by itself."""
        counts = not (self._stopping or worker.parted) and self._settings.heal
        building = self._listener.worker_leaves(name) if counts else None
        if building is None:
            self._let_go(name, worker)
        else:
            worker.leaving = asyncio.create_task(building, name=f"hand over from {name}")
            worker.leaving.add_done_callback(lambda _: self._let_go(name, worker))

    def _let_go(self, name: str, worker: RunningWorker) -> None:
        if self._part(name, worker, gone=False):
            self._listener.worker_lost(name, "leaving")
        worker.peer.let_go()

    def silent(self, *names: str) -> bool:
        """These do not hear of each other. Whether nobody hears of one of them: then it is lost from here on, and that is told."""
        confirmed = [self._heartbeat.confirm(each) for each in names]  # of all: each that is silent is to be lost
        return any(confirmed)

    def _starves(self, name: str) -> bool | None:
        return self.hosts.reachable(name) and self._running[name].process.starved

    def _suspects(self, name: str, why: str, last_s: float) -> None:
        self.lose(name, why, last_s if why == "hang" else None)

    def _lose(self, name: str, worker: RunningWorker, cause: str, began_s: float | None = None) -> None:
        """The worker is taken to be dead, and made so where it can be: a process that still runs could otherwise answer late.

        On another host that cannot be reached nobody can be killed. There the worker is fenced, and taken on anew when it is
        back.
        """
        if not self._part(name, worker):
            return
        cause = "exit" if worker.process.ended else cause
        reachable = self.hosts.reachable(name)
        cause = cause if reachable else HOST_LOST
        if not reachable:
            self._away[worker] = asyncio.create_task(self._await_back(name, worker), name=f"await {name}")
        else:
            worker.process.kill()
        worker.peer.close()
        self._listener.worker_lost(name, cause, began_s)

    async def _await_back(self, name: str, worker: RunningWorker) -> None:
        async def back() -> WorkerPeer | None:
            return await returned(
                lambda greeting_s: self.reach(name, worker.address, greeting_s),
                lambda: worker.process.running,
                lambda: self.hosts.reachable(name),
            )

        peer = await back()
        while peer is not None:
            try:
                await self._gateways.reach(name, worker.address, worker.http)
                break
            except TemporaryError:  # away again
                peer.close()
                peer = await back()
        del self._away[worker]
        if peer is None:
            worker.process.kill()  # it hangs, if it has not ended by itself
            return
        LOGGER.warning("worker %s is back, and begins anew", name)
        worker.peer = peer
        self._leaving.remove(worker)
        worker.parted = False
        self.take_on(name, worker, back=True)

    def _part(self, name: str, worker: RunningWorker, gone: bool = True) -> bool:
        """Count on the worker no longer; false where that is so already. One that is not gone still hears of cancelled calls."""
        if self._stopping or worker.parted:
            return False
        worker.parted = True
        self._leaving.append(worker)
        self._heartbeat.forget(name)
        if self._settings.heal:
            del self._running[name]
            if gone:
                self._gateways.part(name)
        return True
