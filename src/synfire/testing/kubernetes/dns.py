"""The DNS of a cluster: Services and the Pods behind them by name, over IPv4, as a real cluster's CoreDNS answers.

    python -m synfire.testing.kubernetes.dns DOMAIN ADDRESS URL AUTHORITY CERTIFICATE KEY

Debian has no CoreDNS, and this knows what Pods of ours ask for: address records of Services, of headless ones, and of Pods that have a
name in these. It knows no SRV records, nothing outside the cluster, and no TCP: of many addresses it tells those that fit.
What it knows it watches at the API server, so it is as late as that.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
import sys
import threading
import time
from typing import Any

import httpx

PORT = 53
TTL_S = 1
"""Names are asked for again when a Pod has another address."""

AGAIN_S = 0.5
ROOM_BYTES = 512
"""Of an answer to one who has not said that he takes more."""

_A, _IN = 1, 1
_NO_NAME = 3

Object = dict[str, Any]
Key = tuple[str, str]


class Records:
    """What names there are. Services and Endpoints are known by name and namespace."""

    def __init__(self, domain: str) -> None:
        self._domain = domain.split(".")
        self.services: dict[Key, Object] = {}
        self.endpoints: dict[Key, Object] = {}

    def addresses(self, name: str) -> list[str] | None:
        """Those of a name; None for one that there is not."""
        labels = name.lower().rstrip(".").split(".")
        suffix = ["svc", *self._domain]
        if labels[-len(suffix) :] != suffix:
            return None
        match labels[: -len(suffix)]:
            case [service, namespace]:
                return self._service((namespace, service))
            case [pod, service, namespace]:
                return self._pods((namespace, service), pod) or None
        return None

    def _service(self, key: Key) -> list[str] | None:
        if (service := self.services.get(key)) is None:
            return None
        own = service["spec"].get("clusterIP", "None")
        return self._pods(key) if own == "None" else [own]

    def _pods(self, key: Key, hostname: str = "") -> list[str]:
        subsets = self.endpoints.get(key, {}).get("subsets") or []
        found = [each for subset in subsets for each in subset.get("addresses") or []]
        return [each["ip"] for each in found if hostname in ("", each.get("hostname"))]


def answer(records: Records, question: bytes) -> bytes:
    """The answer to a question, both as they travel (RFC 1035). Raises `ValueError` for what is no question."""
    if len(question) < 17:
        raise ValueError(f"{len(question)} bytes are no question")
    number, flags, _, _, _, extra = struct.unpack("!6H", question[:12])
    name, end = _name(question)
    kind, network = struct.unpack("!2H", question[end : end + 4])
    found = records.addresses(name) if network == _IN else None
    told = [_record(each) for each in found or [] if kind == _A]
    room = (4096 if extra else ROOM_BYTES) - end - 4
    told = told[: room // 16]
    code = _NO_NAME if found is None else 0
    head = struct.pack("!6H", number, 0x8480 | (flags & 0x0100) | code, 1, len(told), 0, 0)
    return head + question[12 : end + 4] + b"".join(told)


def _name(question: bytes) -> tuple[str, int]:
    """The name that is asked for, and where it ends."""
    labels, place = [], 12
    while place < len(question) - 4 and (length := question[place]):
        labels.append(question[place + 1 : place + 1 + length].decode("ascii"))
        place += length + 1
    return ".".join(labels), place + 1


def _record(address: str) -> bytes:
    return struct.pack("!3HIH", 0xC00C, _A, _IN, TTL_S, 4) + socket.inet_aton(address)


class Watch(threading.Thread):
    """Keeps `known` as the API server has the objects of one kind."""

    def __init__(self, caller: httpx.Client, kind: str, known: dict[Key, Object]) -> None:
        super().__init__(name=kind, daemon=True)
        self._caller = caller
        self._path = f"/api/v1/{kind}"
        self._known = known

    def run(self) -> None:
        """List, then watch; from the start again whenever that ends."""
        while True:
            try:
                self._follow(self._listed())
            except (httpx.HTTPError, ValueError, KeyError):
                time.sleep(AGAIN_S)

    def _listed(self) -> str:
        found = self._caller.get(self._path).raise_for_status().json()
        now = {_key(each): each for each in found["items"]}
        self._known.update(now)
        for gone in self._known.keys() - now.keys():
            del self._known[gone]
        return str(found["metadata"]["resourceVersion"])

    def _follow(self, version: str) -> None:
        asked = {"watch": "true", "resourceVersion": version}
        with self._caller.stream("GET", self._path, params=asked, timeout=None) as lines:
            for line in lines.raise_for_status().iter_lines():
                event = json.loads(line)
                if event["type"] == "DELETED":
                    self._known.pop(_key(event["object"]), None)
                else:
                    self._known[_key(event["object"])] = event["object"]


def _key(each: Object) -> Key:
    return each["metadata"]["namespace"], each["metadata"]["name"]


def main(domain: str, address: str, url: str, authority: str, certificate: str, key: str) -> None:
    """Answer until ended."""
    trusted = ssl.create_default_context(cafile=authority)
    trusted.load_cert_chain(certificate, key)
    caller = httpx.Client(base_url=url, verify=trusted, timeout=10)
    records = Records(domain)
    for kind, known in (("services", records.services), ("endpoints", records.endpoints)):
        Watch(caller, kind, known).start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.bind((address, PORT))
        while True:
            question, asking = door.recvfrom(4096)
            try:
                door.sendto(answer(records, question), asking)
            except (ValueError, struct.error, OSError) as error:
                print(f"a question of {asking[0]} is not answered: {error}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
