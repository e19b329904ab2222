"""Hosts that this machine pretends to have: network namespaces, each with a cable to one switch in ours.

A host has an interface, an address and a loopback of its own, and no way out but its cable. Cutting it is what cutting a real
one is: packets vanish in both directions, no connection is reset, and nobody is told. So it is where two hosts alone cannot
reach each other: what they send there goes to a hardware address that nobody has. Processors, memory and disks are shared
with everybody. Names derive from the deployment's id, so that what a killed deployment left can be found and removed.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from synfire.base.errors import UnknownName, UserError
from synfire.base.processes import born

MOST_HOSTS = 64

_INTERFACES = Path("/sys/class/net")
_NAMESPACES = Path("/run/netns")
_UP = 1
_MARK = "synfire"
"""How the alias of a switch begins; the process whose it is follows."""
_TRIES = 256
_NOBODY = "02:00:00:00:00:00"
"""A hardware address that no interface has."""
_RANGES = (("10", 8), ("169.254", 16))
"""Private, and link-local for machines whose own network takes all of the first."""


@dataclass(frozen=True)
class Host:
    """One emulated host of a deployment. `address` is where its workers listen."""

    deployment: str
    number: int
    address: str

    @property
    def name(self) -> str:
        return f"host-{self.number}"

    @property
    def cable(self) -> Cable:
        return Cable(self.deployment, self.number)

    @property
    def inside(self) -> tuple[str, ...]:
        """What a command line begins with to run there, as the process that was started and no child of it."""
        return ("nsenter", f"--net={_NAMESPACES / _namespace(self.deployment, self.number)}", "--")


@dataclass(frozen=True)
class Cable:
    """What joins one host to all others. It is known by its end at the switch, an interface of ours."""

    deployment: str
    number: int

    @classmethod
    def of(cls, deployment: str, host: str) -> Cable:
        """The cable of the host of that name. Raises `UnknownName` with those that there are, `UserError` where there is none."""
        cables = {f"host-{number}": cls(deployment, number) for number in sorted(_numbers(deployment))}
        if not cables:
            raise UserError(
                "the deployment has no emulated hosts whose cable could be cut; start it with: serve … --hosts 3"
            )
        if host not in cables:
            raise UnknownName.among("emulated host", host, cables)
        return cables[host]

    @property
    def port(self) -> str:
        return f"{_switch(self.deployment)}p{self.number}"

    @property
    def there(self) -> bool:
        """Whether the host has not been removed."""
        return (_INTERFACES / self.port).exists()

    @property
    def whole(self) -> bool:
        """Whether packets pass; a cable that somebody has removed is not whole."""
        try:
            return bool(int((_INTERFACES / self.port / "flags").read_text(), 16) & _UP)
        except FileNotFoundError:
            return False

    def cut(self) -> None:
        """Let no packet pass from now on. Raises `UserError` without the right to."""
        _ip("link", "set", self.port, "down")

    def mend(self) -> None:
        """Let packets pass again. Raises `UserError` without the right to."""
        _ip("link", "set", self.port, "up")


@dataclass(frozen=True)
class Passage:
    """What passes between two hosts, and no other: by way of the switch, along both their cables."""

    deployment: str
    ends: tuple[int, int]

    @classmethod
    def of(cls, deployment: str, one: str, other: str) -> Passage:
        """Between the hosts of these names. Raises as `Cable.of` does, and `UserError` for one and the same."""
        ends = Cable.of(deployment, one).number, Cable.of(deployment, other).number
        if ends[0] == ends[1]:
            raise UserError(f"{one} always reaches itself; name two hosts, such as host-0:host-1")
        return cls(deployment, ends)

    @property
    def there(self) -> bool:
        """Whether neither host has been removed."""
        return all(Cable(self.deployment, each).there for each in self.ends)

    @property
    def whole(self) -> bool:
        """Whether packets pass, as far as the cables let them."""
        return self.there and not any(self._astray(*way) for way in self._ways)

    def cut(self) -> None:
        """Let no packet pass from now on. Raises `UserError` without the right to."""
        for here, address in self._ways:
            _ip("-n", here, "neigh", "replace", address, "lladdr", _NOBODY, "dev", "eth0", "nud", "permanent")

    def mend(self) -> None:
        """Let packets pass again. Raises `UserError` without the right to."""
        for here, address in self._ways:
            if self._astray(here, address):
                _ip("-n", here, "neigh", "delete", address, "dev", "eth0")

    @property
    def _ways(self) -> tuple[tuple[str, str], ...]:
        """From the namespace of either host to the address of the other."""
        one, other = (_namespace(self.deployment, number) for number in self.ends)
        return (one, _address(other)), (other, _address(one))

    def _astray(self, namespace: str, address: str) -> bool:
        """Whether what is sent there goes to nobody."""
        return _NOBODY in _ip("-n", namespace, "neigh", "show", "to", address, "nud", "permanent")


def lay(deployment: str, count: int, owner: int | None = None) -> tuple[Host, ...]:
    """Make the hosts and join them to a switch, at which this process has an address too.

    `owner` is the process with which the deployment ends, this one unless another is named: until then `sweep` leaves them alone.

    Raises `UserError` where that cannot be: without root, without the tools, in a kernel without namespaces; nothing is left then.
    """
    if not 1 <= count <= MOST_HOSTS:
        raise UserError(f"{count} hosts cannot be emulated; ask for 1 to {MOST_HOSTS}")
    _check_able()
    network = _free(deployment)
    ours, *theirs = (str(address) for address in _first(network, count + 1))
    hosts = tuple(Host(deployment, number, address) for number, address in enumerate(theirs))
    try:
        switch = _switch(deployment)
        _ip("link", "add", switch, "type", "bridge")
        pid = os.getpid() if owner is None else owner
        _ip("link", "set", switch, "alias", f"{_MARK} {pid} {born(pid)}")
        _ip("addr", "add", f"{ours}/{network.prefixlen}", "dev", switch)
        _ip("link", "set", switch, "up")
        for host in hosts:
            _join(host, network.prefixlen)
    except UserError:
        remove(deployment)
        raise
    return hosts


def impossible() -> str:
    """Why no host can be emulated here; empty where it can."""
    try:
        lay(probe := uuid.uuid4().hex[:8], 1)
        remove(probe)
    except UserError as error:
        return str(error)
    return ""


def remove(deployment: str) -> None:
    """Remove all hosts of the deployment, their cables and the switch; where there are none nothing is done.

    Raises `UserError` without the right to.
    """
    for number in sorted(_numbers(deployment)):
        _delete("link", _INTERFACES / Cable(deployment, number).port)
    for namespace in _namespaces(deployment):
        _delete("netns", namespace)
    _delete("link", _INTERFACES / _switch(deployment))  # at last: by it what is left after an interruption is found


def sweep() -> None:
    """Remove the hosts of processes that are gone, if nothing runs on them; without root nothing is done.

    Raises `UserError` where that fails.
    """
    for switch in sorted(_INTERFACES.glob(f"{_switch('')}*")) if os.geteuid() == 0 else ():
        mark, *owner = _alias(switch).split() or [""]
        deployment = switch.name.removeprefix(_switch(""))
        if mark == _MARK and born(int(owner[0])) != owner[1] and not _inhabited(deployment):
            remove(deployment)


def _alias(interface: Path) -> str:
    try:
        return (interface / "ifalias").read_text()
    except OSError:  # it is gone meanwhile
        return ""


def _inhabited(deployment: str) -> bool:
    """Whether a process runs on one of the hosts: its deployment lives then, whoever laid them."""
    hosts = {each.stat().st_ino for each in _namespaces(deployment)}
    return bool(hosts) and any(_inode(each) in hosts for each in Path("/proc").glob("[0-9]*/ns/net"))


def _inode(thing: Path) -> int:
    try:
        return thing.stat().st_ino
    except OSError:  # the process has ended meanwhile
        return -1


def _namespaces(deployment: str) -> list[Path]:
    return sorted(_NAMESPACES.glob(_namespace(deployment, "*")))


def _join(host: Host, prefix: int) -> None:
    namespace = _namespace(host.deployment, host.number)
    _ip("netns", "add", namespace)
    _ip("link", "add", host.cable.port, "type", "veth", "peer", "name", "eth0", "netns", namespace)
    _ip("link", "set", host.cable.port, "master", _switch(host.deployment), "up")
    _ip("-n", namespace, "addr", "add", f"{host.address}/{prefix}", "dev", "eth0")
    _ip("-n", namespace, "link", "set", "eth0", "up")
    _ip("-n", namespace, "link", "set", "lo", "up")


def _delete(kind: str, thing: Path) -> None:
    try:
        if thing.exists():
            _ip(kind, "delete", thing.name)
    except UserError:
        if thing.exists():  # else another process that sweeps was faster
            raise


def _check_able() -> None:
    if os.geteuid() != 0:
        raise UserError(
            "hosts are emulated by network namespaces, which only root makes; run as root, or leave --hosts out"
        )
    missing = [tool for tool in ("ip", "nsenter") if shutil.which(tool) is None]
    if missing:
        raise UserError(
            f"hosts are emulated with {' and '.join(missing)}, which this machine lacks; install iproute2 and util-linux, or "
            "leave --hosts out"
        )


def _free(deployment: str) -> ipaddress.IPv4Network:
    """A network of 256 addresses that nothing here knows a way to: which one, the deployment's id decides."""
    taken = list(_known())
    for start, fixed in _RANGES:
        for attempt in range(_TRIES):
            digest = hashlib.sha256(f"{deployment}-{attempt}".encode()).digest()
            free = ".".join(str(each) for each in digest[: (24 - fixed) // 8])
            network = ipaddress.IPv4Network(f"{start}.{free}.0/24")
            if not any(network.overlaps(other) for other in taken):
                return network
    raise UserError(
        "no network of 256 addresses is free in 10.0.0.0/8 and 169.254.0.0/16; remove routes to them, or leave --hosts out"
    )


def _known() -> Iterator[ipaddress.IPv4Network]:
    """The networks that this machine has addresses in or routes to, but for the way to everywhere."""
    routes = json.loads(_ip("-json", "-4", "route", "show", "table", "all") or "[]")
    for route in routes:
        if route.get("dst", "default") not in ("default", "0.0.0.0/0"):
            yield ipaddress.IPv4Network(route["dst"], strict=False)


def _first(network: ipaddress.IPv4Network, count: int) -> Iterable[ipaddress.IPv4Address]:
    hosts = network.hosts()
    return (next(hosts) for _ in range(count))


def _switch(deployment: str) -> str:
    return f"sy{deployment[:8]}"  # with a port's number it has to fit into the kernel's 15 characters


def _namespace(deployment: str, number: int | str) -> str:
    return f"synfire-{deployment}-{number}"


def _address(namespace: str) -> str:
    """The address of the host."""
    (interface,) = json.loads(_ip("-n", namespace, "-json", "-4", "address", "show", "dev", "eth0"))
    return str(interface["addr_info"][0]["local"])


def _numbers(deployment: str) -> Iterator[int]:
    """The hosts whose cables there are."""
    stem = f"{_switch(deployment)}p"
    found = (each.name.removeprefix(stem) for each in _INTERFACES.glob(f"{stem}*"))
    return (int(number) for number in found if number.isdigit())


def _ip(*arguments: str) -> str:
    """What `ip` prints. Raises `UserError` with what it says when it fails."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(
            f"the emulated network cannot be changed: `ip {' '.join(arguments)}` says {done.stderr.strip() or 'nothing'}; it "
            "takes root's rights to network namespaces, bridges and veth pairs"
        )
    return done.stdout
