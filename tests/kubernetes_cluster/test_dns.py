"""Names are answered as CoreDNS answers them, to the byte of the protocol."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest

from synfire.testing.kubernetes.dns import Records, answer

QUESTION_BYTES = 12


@pytest.fixture
def records() -> Records:
    made = Records("cluster.local")
    made.services["models", "synfire"] = {"spec": {"clusterIP": "198.18.0.7"}}
    made.services["models", "synfire-workers"] = {"spec": {"clusterIP": "None"}}
    pods = [{"ip": "100.64.0.2", "hostname": "synfire-workers-0"}, {"ip": "100.64.1.2"}]
    made.endpoints["models", "synfire-workers"] = {
        "subsets": [{"addresses": pods, "notReadyAddresses": [{"ip": "1.1.1.1"}]}]
    }
    return made


def asked(name: str, kind: int = 1, extra: int = 0) -> bytes:
    labels = b"".join(bytes([len(each)]) + each.encode() for each in name.split("."))
    return struct.pack("!6H", 4711, 0x0100, 1, 0, 0, extra) + labels + b"\0" + struct.pack("!2H", kind, 1)


def told(packet: bytes) -> tuple[int, list[str]]:
    """The code of an answer, and its addresses."""
    number, flags, _, count, _, _ = struct.unpack("!6H", packet[:12])
    assert number == 4711
    assert flags & 0x8100 == 0x8100
    found = packet[len(packet) - 16 * count :]
    return flags & 15, [socket.inet_ntoa(found[each * 16 + 12 : each * 16 + 16]) for each in range(count)]


@pytest.mark.parametrize(
    ("name", "addresses"),
    [
        ("synfire.models", ["198.18.0.7"]),
        ("SYNFIRE.Models", ["198.18.0.7"]),
        ("synfire-workers.models", ["100.64.0.2", "100.64.1.2"]),
        ("synfire-workers-0.synfire-workers.models", ["100.64.0.2"]),
    ],
)
def test_services_and_pods_have_addresses(records: Records, name: str, addresses: list[str]) -> None:
    assert told(answer(records, asked(f"{name}.svc.cluster.local"))) == (0, addresses)


@pytest.mark.parametrize(
    "name", ["synfire.other.svc.cluster.local", "no-pod.synfire-workers.models.svc.cluster.local", "example.org"]
)
def test_what_is_not_there_has_no_name(records: Records, name: str) -> None:
    assert told(answer(records, asked(name))) == (3, [])


def test_a_name_that_has_no_address_of_that_kind_is_still_one(records: Records) -> None:
    assert told(answer(records, asked("synfire.models.svc.cluster.local", kind=28))) == (0, [])


def test_an_answer_is_as_long_as_the_asker_takes(records: Records) -> None:
    pods: list[dict[str, Any]] = [{"ip": f"100.64.0.{each}"} for each in range(200)]
    records.endpoints["models", "synfire-workers"] = {"subsets": [{"addresses": pods}]}
    question = asked("synfire-workers.models.svc.cluster.local")
    assert len(answer(records, question)) <= 512
    assert len(told(answer(records, asked("synfire-workers.models.svc.cluster.local", extra=1)))[1]) == 200


def test_what_is_no_question_is_refused(records: Records) -> None:
    with pytest.raises(ValueError, match="are no question"):
        answer(records, b"\0" * QUESTION_BYTES)
