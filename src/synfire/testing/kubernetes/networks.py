"""Addresses of Pods and Services, and the ways to them.

A cluster takes one of 64 shares of two ranges that are nobody's on the internet: 100.64.0.0/10 (carriers' own, RFC 6598) for Pods,
and 198.18.0.0/15 (benchmarks, RFC 2544) for Services. This machine gets a route to both, so that whoever runs a test calls Services as
they are. A share is taken by making its route, which of two clusters only one can do.
"""

from __future__ import annotations

import ipaddress
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from synfire.base.errors import UserError
from synfire.deploy.network import Host

SHARES = 64


@dataclass(frozen=True)
class Networks:
    """The share of that number."""

    number: int

    @property
    def pods(self) -> str:
        return f"100.{64 + self.number}.0.0/16"

    @property
    def services(self) -> str:
        start = int(ipaddress.IPv4Address("198.18.0.0")) + self.number * 2**11
        return f"{ipaddress.IPv4Address(start)}/21"

    @property
    def api(self) -> str:
        """Where the API server is, as a Service."""
        return str(ipaddress.IPv4Network(self.services)[1])

    def of_node(self, number: int) -> str:
        """The addresses of one node's Pods."""
        return f"100.{64 + self.number}.{number}.0/24"


def taken(way: str) -> Networks:
    """A share that no other cluster has, with this machine's routes to its Services and Pods by the address `way`.

    Raises `UserError` where all are taken.
    """
    for number in range(SHARES):
        found = Networks(number)
        if _ip((), "route", "add", found.services, "via", way):
            if _ip((), "route", "add", found.pods, "via", way):
                return found
            _ip((), "route", "delete", found.services, "via", way)
    raise UserError(
        f"{SHARES} clusters run on this machine, or 100.64.0.0/10 and 198.18.0.0/15 are routed elsewhere; end one, or remove the routes"
    )


def lead(host: Host, ways: Mapping[str, str], default: str) -> None:
    """Have the host reach each network by its address, all else by `default`, and pass on what is not its own.

    Raises `UserError` where that cannot be set up.
    """
    for each, way in ({"default": default} | dict(ways)).items():
        if way != host.address and not _ip(host.inside, "route", "replace", each, "via", way):
            raise UserError(f"{host.name} gets no way to {each} by {way}; run as root, with iproute2")
    for name, value in _PASSES_ON.items():
        subprocess.run([*host.inside, "sh", "-ec", f"echo {value} > /proc/sys/net/ipv4/{name}"], check=True)


def _ip(place: tuple[str, ...], *arguments: str) -> bool:
    return subprocess.run([*place, "ip", *arguments], capture_output=True, check=False).returncode == 0


_PASSES_ON = {"ip_forward": 1, "conf/all/send_redirects": 0, "conf/eth0/send_redirects": 0}
"""Nobody is told of shorter ways: they would outlast a cable that is cut."""
