"""Which emulated host a worker is on, and how one that was cut off comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

from synfire.base.errors import TemporaryError
from synfire.deploy import network
from synfire.deploy.network import Host
from synfire.gateway.peer import WorkerPeer
from synfire.plan import Plan
from synfire.wire.messages import Unhost
from synfire.wire.stream import Packet

REACH_S = 0.5
"""How often a worker that was lost is called upon: a host that is back is then of use within about a second."""

EMPTIED_S = 10.0
"""How long a worker that is back may take to drop what it held: the longest job, and some."""

MOST_CALLS = 10
"""So many times running a worker that was lost is called upon although its host can be reached; one that answers none hangs."""


class Hosts:
    """The emulated hosts of a deployment, between `lay` and `remove`, and the workers on them. No host: an empty one.

    Workers that the plans name are spread over all hosts but the last, which is for spares where there are to be any; so no
    spare shares the fate of what it protects. Later ones go where the fewest stages are.
    """

    def __init__(self, deployment: str, count: int, spares: int, owner: int | None = None) -> None:
        self._deployment = deployment
        self._count = count
        self._spares = spares
        self._owner = owner
        self._hosts: tuple[Host, ...] = ()
        self._homes: dict[str, Host] = {}
        self._groups: dict[str, str] = {}

    def lay(self) -> None:
        """Make the hosts, if any are wanted. Raises `UserError` where that cannot be."""
        if self._count:
            self._hosts = network.lay(self._deployment, self._count, self._owner)

    def remove(self) -> None:
        """Remove the hosts."""
        if self._count:
            network.remove(self._deployment)
            self._hosts = ()

    @property
    def laid(self) -> tuple[Host, ...]:
        """The hosts that there are."""
        return self._hosts

    @property
    def names(self) -> dict[str, str]:
        """The host of each worker that is not simply here, by its name."""
        return {name: host.name for name, host in self._homes.items()} | self._groups

    @property
    def homes(self) -> Mapping[str, Host]:
        """Where each worker is."""
        return self._homes

    def take_over(self, hosts: tuple[Host, ...], homes: Mapping[str, Host]) -> None:
        """Go on with hosts that another controller has laid."""
        self._hosts, self._homes = hosts, dict(homes)

    def of(self, worker: str) -> Host | None:
        """Where the worker is."""
        return self._homes.get(worker)

    def fellows(self, worker: str) -> list[str]:
        """The other workers on the host of `worker`."""
        names = self.names
        return [name for name, host in names.items() if host == names.get(worker) and name != worker]

    def reachable(self, worker: str) -> bool:
        """Whether somebody on the worker's host, did we ask, could tell how it does: no cable is cut between us."""
        home = self.of(worker)
        return home is None or home.cable.whole

    def group(self, worker: str) -> str:
        """What the worker shares its fate with: its host's name, or nothing."""
        return self.names.get(worker, "")

    def join(self, worker: str, group: str) -> None:
        """A worker of another machine is there."""
        self._groups[worker] = group

    def place(self, worker: str, plans: Iterable[Plan], away: Collection[str] = ()) -> Host | None:
        """Choose a host for a worker that is about to be started; the workers `away` have been lost, and their hosts with them."""
        if self._hosts:
            lost = {self._homes[name] for name in away if name in self._homes}
            self._homes[worker] = chosen(worker, self._hosts, self._homes, list(plans), lost, bool(self._spares))
        return self.of(worker)

    def leave(self, worker: str) -> None:
        """The worker's process has ended."""
        self._homes.pop(worker, None)
        self._groups.pop(worker, None)


def chosen(
    worker: str,
    hosts: tuple[Host, ...],
    homes: Mapping[str, Host],
    plans: list[Plan],
    lost: Collection[Host],
    spares: bool,
) -> Host:
    """The host for a worker, among those that are not `lost` as long as there are others. Pure."""
    stages = [stage.worker for plan in plans for stage in plan.stages]
    load = {host: sum(homes.get(name) == host for name in stages) for host in hosts}
    count = {host: sum(home == host for home in homes.values()) for host in hosts}
    there = [host for host in hosts if host not in lost] or list(hosts)
    if worker in stages:
        able = [host for host in there if not spares or host != hosts[-1]] or there
        return min(able, key=lambda host: (load[host], count[host], host.number))
    return min(there, key=lambda host: (load[host], count[host], -host.number))


async def returned(
    reach: Callable[[float], Awaitable[WorkerPeer]], alive: Callable[[], bool], reachable: Callable[[], bool]
) -> WorkerPeer | None:
    """Call upon a worker that was lost until it answers, and have it drop what it held: it is as good as a new one then.

    None when its process has ended meanwhile, and when it does not answer although its host is `reachable` again. Whatever it
    had still to say belongs to an epoch that is over, and is refused wherever it arrives; sessions that it kept have gone on
    elsewhere.
    """
    calls = 0
    while alive() and calls < MOST_CALLS:
        try:
            peer = await reach(REACH_S)
            await asyncio.wait_for(_emptied(peer), EMPTIED_S)
            return peer
        except (TemporaryError, TimeoutError):  # it is still away, or away again
            calls = calls + 1 if reachable() else 0
            await asyncio.sleep(REACH_S)
    return None


async def _emptied(peer: WorkerPeer) -> None:
    try:
        for model in {stage.model for stage in (await peer.describe()).stages}:
            peer.send(Packet(Unhost(model)))
        await peer.ping()
    except BaseException:
        peer.close()
        raise
