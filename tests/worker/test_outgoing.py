"""What a job has computed together leaves together."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from synfire.ops import Array
from synfire.wire.batches import part
from synfire.wire.messages import Batch, Failure, Frame
from synfire.wire.stream import Packet
from synfire.worker import outgoing
from synfire.worker.job import Whole
from synfire.worker.outgoing import Outgoing, joined

SIZES = (1, 2, 1)


def whole() -> Whole:
    rng = np.random.default_rng(0)
    spikes = (rng.random((2, sum(SIZES), 3)) < 0.5).astype(np.uint8)
    return Whole({"spikes": spikes, "label": rng.normal(size=(sum(SIZES), 1))}, SIZES, frozenset({"spikes"}))


def leaving(given: Whole, place: int, receiver: str = "b", address: str = "unix:/w1", origin: str = "gw") -> Outgoing:
    """The frame of the visit at this place of the job."""
    start = sum(SIZES[:place])
    span = slice(start, start + SIZES[place])
    arrays: dict[str, Array] = {"spikes": given.outputs["spikes"][:, span], "label": given.outputs["label"][span]}
    frame = Frame("m", "a", receiver, f"r{place}", origin, 0, 0, 2)
    return Outgoing(Packet(frame, arrays), origin, address, whole=given)


def same(one: Packet, other: Packet) -> bool:
    return one.message == other.message and all(
        np.array_equal(one.arrays[name], other.arrays[name]) for name in one.arrays
    )


def test_frames_of_one_job_along_one_link_are_one_packet() -> None:
    given = whole()
    apart = [leaving(given, place) for place in range(3)]
    (together,) = joined(apart)
    assert isinstance(together.packet.message, Batch)
    assert together.address == "unix:/w1"
    assert together.packet.arrays["spikes"] is given.outputs["spikes"], "nothing is copied"
    assert all(map(same, part(together.packet), [each.packet for each in apart]))


def test_frames_to_different_stages_and_gateways_stay_apart() -> None:
    given = whole()
    links = [("b", "unix:/w1", "gw"), ("c", "unix:/w1", "gw"), ("gateway", "", "gw")]
    apart = [leaving(given, place, *link) for place in range(3) for link in links]
    packets = [each.packet.message for each in joined(apart)]
    assert [{frame.receiver for frame in each.frames} for each in packets if isinstance(each, Batch)] == [
        {"b"},
        {"c"},
        {"gateway"},
    ]
    origins = [leaving(given, place, "gateway", "", f"gw{place % 2}") for place in range(3)]
    assert not any(isinstance(each.packet.message, Batch) for each in joined(origins)), "none has all of the job"


def test_what_a_dead_visit_leaves_out_is_not_sent() -> None:
    given = whole()
    failure = Outgoing(Packet(Failure("r1", "UserError", "why")), "gw")
    found = list(joined([leaving(given, 0), failure, leaving(given, 2)]))
    assert sorted(each.packet.message.request for each in found) == ["r0", "r1", "r2"]  # type: ignore[union-attr]


def test_large_frames_go_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    given = whole()
    apart = [leaving(given, place) for place in range(3)]
    monkeypatch.setattr(outgoing, "_JOINED_BYTES", sum(array.nbytes for array in given.outputs.values()) - 1)
    assert list(joined(apart)) == apart


def test_frames_that_lanes_part_travel_together_in_each_lane() -> None:
    given = whole()
    places = {0: "b", 1: "b#2", 2: "b#2"}
    apart = [leaving(given, place, receiver) for place, receiver in places.items()]
    apart = [
        each._replace(
            packet=Packet(msgspec.structs.replace(each.packet.message, lane=(int(n > 0),)), each.packet.arrays)
        )
        for n, each in enumerate(apart)
    ]
    alone, together = joined(apart)
    assert alone == apart[0]
    assert isinstance(together.packet.message, Batch)
    assert together.packet.message.sizes == SIZES[1:]
    assert all(map(same, part(together.packet), [each.packet for each in apart[1:]]))
