"""When a worker that has just begun says that it is ready."""

from __future__ import annotations

from synfire.wire.messages import Host, Hosted, Ping, Prepare, Prepared, Pulse, Relink
from synfire.worker.settling import REST_S, Settling

HOST = Host("m", "s", "cpu", 1, (), ())


def test_one_that_nobody_counts_on_is_not_ready() -> None:
    settling = Settling()
    settling.asked(Ping(1), 0.0)
    assert not settling.over(1e6)


def test_one_that_is_counted_on_and_has_nothing_to_do_is_ready_soon() -> None:
    settling = Settling()
    settling.asked(Pulse(0.05), 10.0)
    assert not settling.over(10.0 + REST_S / 2)
    assert settling.over(10.0 + REST_S)


def test_one_that_builds_is_not_ready_however_long_that_takes() -> None:
    settling = Settling()
    settling.asked(Pulse(0.05), 0.0)
    settling.asked(Prepare("cpu", "d"), 0.1)
    assert not settling.over(100.0)
    settling.answered(Prepared("d"), 100.0)
    assert not settling.over(100.0 + REST_S / 2)
    settling.asked(HOST, 100.6)
    settling.answered(Hosted("m", "s"), 100.7)
    settling.asked(Relink("m", 2, ()), 100.8)
    assert not settling.over(100.7 + REST_S)
    assert settling.over(100.8 + REST_S)


def test_one_that_was_ready_stays_so_whatever_it_is_told_later() -> None:
    settling = Settling()
    settling.asked(Pulse(0.05), 0.0)
    assert settling.over(REST_S)
    settling.asked(Prepare("cpu", "d"), 50.0)
    assert settling.over(50.1)
