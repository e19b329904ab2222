"""What a worker of another machine and the door at which it joins say to each other; then `Signal` and `Exited`, as of any worker. A
controller tells the supervisor, too, what is to be begun anew."""

from __future__ import annotations

import msgspec

from synfire.devices import Cores
from synfire.wire.messages.message import Message


class Joined(msgspec.Struct, frozen=True, array_like=True):
    """What is known of a worker that has joined. Workers of one `group` share their fate, as on one host.

    Without a `device` it computes on the processor. `cores` (one more than it computes with) and `memory_bytes` are what its machine lets it use. `door` is the
    host at which it calls this machine: there it finds the workers here, too. Its `role` is `host`, or `spare`: plans begin on hosts alone. `stays` says
    why no other worker can be begun beside it, in words; empty where one can. `device_cores` are what it may use of its device, where these are
    counted.
    """

    group: str
    device: str = ""
    cores: int = 1
    memory_bytes: int = 0
    door: str = ""
    role: str = "host"
    stays: str = ""
    device_cores: Cores | None = None


class Join(Message, frozen=True):
    """A worker wants to join by this name. Answered by `Welcome`, or a `Failure` that says why not.

    `agent` is the process that asks, and no other: when it comes again, it is not there any more where it was before. It will listen at
    `host`, or, where that is empty, where it calls from. It still `holds` what a worker of that deployment held when its door was lost.
    """

    name: str
    agent: str
    joined: Joined
    host: str = ""
    holds: str = ""


class Welcome(Message, frozen=True):
    """Begin a worker of this `deployment` with these settings, to listen at `host`, and say by `Spawned` where that is. Where the deployment
    `goes_on` with what is held already, say where that listens instead.

    It is then called there, and a `Done` tells whether it has joined.
    """

    deployment: str
    host: str
    settings: bytes = b"{}"
    goes_on: bool = False


class Renew(Message, frozen=True):
    """Another version of synfire may be installed: begin a fresh worker beside the one of that `name`, on its machine; it joins as the
    `successor`, or `Spawned` says by that name why it does not. Without a name: load anew what processes are begun from.
    """

    name: str = ""
    successor: str = ""


JoinMessage = Join | Welcome | Renew
