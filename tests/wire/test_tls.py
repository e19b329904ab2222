"""Encrypted links: they keep what all links promise, and break where the other side has another token."""

from __future__ import annotations

import select
from dataclasses import dataclass, field

import pytest

from synfire.base.errors import SynfireError, UserError
from synfire.deploy.join.secret import credential_of
from synfire.testing.links import check_size_limit, check_stream_link
from synfire.wire.links import Limits, accept, connect, listen, tls
from synfire.wire.links.tls import TlsLink, hold
from synfire.wire.messages import Cancel
from synfire.wire.stream import Packet

SMALL = Limits(max_frame_bytes=1 << 23, queue_bytes=1 << 20)
TOKEN, OTHER = "a" * 32, "b" * 32
PATIENCE_S = 10.0


@pytest.fixture(autouse=True)
def credential(monkeypatch):
    monkeypatch.setattr(tls, "_HELD", [])
    hold(credential_of(TOKEN))


@dataclass
class Pair:
    near: object
    far: object
    more: list = field(default_factory=list)

    def close(self):
        for each in (self.near, self.far, *self.more):
            each.close()


def pair(address="tls://127.0.0.1:0", token=TOKEN):
    listener, found = listen(address)
    listener.settimeout(PATIENCE_S)
    near = connect(found, "b", SMALL)
    hold(credential_of(token))
    return Pair(near, accept(listener, found, "a", SMALL), [listener])


def heard(link):
    assert select.select([link], [], [], PATIENCE_S)[0], "nothing arrived"
    return link.receive()


def acquainted():
    made = pair()
    for each in (made.far, made.near, made.far):
        assert heard(each) == []
    return made


def test_tls_link_conforms():
    check_stream_link(acquainted)
    check_size_limit(acquainted, SMALL.max_frame_bytes)


def test_tls_link_conforms_on_ipv6():
    made = pair("tls://[::1]:0")
    assert made.far.ends() == ("::1", "::1")
    made.close()


def test_what_is_sent_before_both_sides_know_each_other_arrives_once_they_do():
    made = pair()
    made.near.send(Packet(Cancel("early")))
    made.far.send(Packet(Cancel("late")))
    found = []
    for each in (made.far, made.near, made.far):
        found += [packet.message.request for packet in heard(each)]
    found += [packet.message.request for packet in heard(made.near)]
    assert sorted(found) == ["early", "late"]
    made.close()


def test_nothing_of_a_packet_travels_in_the_clear():
    made = acquainted()
    made.near.send(Packet(Cancel("a-secret-that-nobody-reads")))
    raw = made.far._socket
    select.select([raw], [], [], PATIENCE_S)
    assert b"secret" not in raw.recv(1 << 16)
    made.close()


def test_a_caller_with_another_token_is_told_so_and_gets_no_further():
    made = pair(token=OTHER)
    errors = []
    for each in (made.far, made.near, made.far):
        try:
            heard(each)
        except SynfireError as error:
            errors.append(error)
    assert [type(each) for each in errors] == [UserError, UserError]
    assert all("give both sides the same token" in str(each) for each in errors)
    made.close()


def test_a_process_without_a_token_links_to_no_tls_address(monkeypatch):
    monkeypatch.setattr(tls, "_HELD", [])
    listener, found = listen("tls://127.0.0.1:0")
    with pytest.raises(UserError, match="takes the deployment's token"):
        connect(found, "b")
    listener.close()


def test_a_slow_link_stays_encrypted_and_in_order():
    made = acquainted()
    made.near.hold_back(0.01, 30.0)
    for name in "abc":
        made.near.send(Packet(Cancel(name)))
    found = []
    while len(found) < 3:
        found += [packet.message.request for packet in heard(made.far)]
    assert found == ["a", "b", "c"]
    assert isinstance(made.near, TlsLink)
    made.close()
