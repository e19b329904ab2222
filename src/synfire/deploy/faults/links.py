"""Faults of links: a host cut off from all others or from one, a connection dropped, packets delayed."""

from __future__ import annotations

import time

from synfire.base.errors import UserError
from synfire.deploy.faults.door import ask
from synfire.deploy.faults.fault import FAULTS, Act, Fault, Options, Scene, Tell
from synfire.deploy.network import Cable, Passage
from synfire.plan.plan import GATEWAY
from synfire.wire.messages import Impair, Impaired, error_of

DELAY_S, DELAYED_S = 0.05, 10.0
"""By how much a link is delayed, and for how long, where nothing else is said."""


class LinkPartition(Fault):
    name = "link-partition"
    about = (
        "cuts an emulated host's cable, or keeps two hosts from reaching each other, for --for seconds or until it is done "
        "again, which mends it"
    )
    emulates = (
        "a network partition, as it is: packets vanish in both directions, no connection is reset, and nothing but silence "
        "tells of it. The workers live on, and are fenced. It takes a deployment with --hosts, and root"
    )
    target = "an emulated host's name, as `ps` shows it; or HOST:HOST, between which alone nothing passes any more"
    takes = ("for_s",)

    def inject(self, target: str, scene: Scene, options: Options, tell: Tell) -> None:
        way = _way(scene.deployment, target)
        if options.for_s is None:
            _cut(way, target, tell) if way.whole else _mend(way, target, tell)
            return
        if not way.whole:
            raise UserError(f"{target} is cut off already; mend it first: synfire fault {self.name} {target}")
        try:
            _cut(way, target, tell)
            time.sleep(options.for_s)
        finally:
            if way.there:  # else the deployment has ended meanwhile
                _mend(way, target, tell)


class LinkDrop(Fault):
    name = "link-drop"
    about = (
        "closes a worker's connection to another or to the gateways, and again whenever it is opened for --for seconds"
    )
    emulates = (
        "a connection that breaks: both ends notice at once, what was under way on it is lost. Emulated in the sender, which "
        "lives; what it has no connection for it treats as it would if the network were at fault"
    )
    target = f"FROM:TO, two workers as `ps` shows them; TO may be {GATEWAY}"
    takes = ("for_s",)

    def inject(self, target: str, scene: Scene, options: Options, tell: Tell) -> None:
        for_s = options.for_s or 0.0
        _impair(target, scene, for_s, 0.0, tell, f"dropped{f' for {for_s:g} s' if for_s else ''}")


class LinkDelay(Fault):
    name = "link-delay"
    about = (
        f"holds back what a worker sends to another or to the gateways by --delay seconds (default {DELAY_S:g}), for --for "
        f"seconds (default {DELAYED_S:g})"
    )
    emulates = "a slow or congested way: everything arrives, in order, late. Emulated in the sender; heartbeats go on as before"
    target = LinkDrop.target
    takes = ("for_s", "delay_s")

    def inject(self, target: str, scene: Scene, options: Options, tell: Tell) -> None:
        for_s = DELAYED_S if options.for_s is None else options.for_s
        delay_s = DELAY_S if options.delay_s is None else options.delay_s
        _impair(target, scene, for_s, delay_s, tell, f"delayed by {delay_s:g} s for {for_s:g} s")


for kind in (LinkPartition, LinkDrop, LinkDelay):
    FAULTS.add(kind.name, kind())


def _impair(target: str, scene: Scene, for_s: float, delay_s: float, tell: Tell, what: str) -> None:
    sender, _, receiver = target.partition(":")
    process = scene.worker(sender)
    if not receiver or sender == receiver:
        raise UserError(f"{target!r} is no link; write FROM:TO, such as worker-0:worker-1 or worker-0:{GATEWAY}")
    peer = GATEWAY if receiver == GATEWAY else scene.addresses.get(scene.worker(receiver).name, "")
    answer = ask(scene, sender, Impair(peer, for_s, delay_s), Impaired)
    if answer.kind:
        raise error_of(answer)
    tell(Act.now(what, target, process.pid))


def _way(deployment: str, target: str) -> Cable | Passage:
    """What is to be cut, or mended."""
    one, between, other = target.partition(":")
    return Passage.of(deployment, one, other) if between else Cable.of(deployment, one)


def _cut(way: Cable | Passage, target: str, tell: Tell) -> None:
    way.cut()
    tell(Act.now("cut off: nothing passes any more", target))


def _mend(way: Cable | Passage, target: str, tell: Tell) -> None:
    way.mend()
    tell(Act.now("joined again", target))
