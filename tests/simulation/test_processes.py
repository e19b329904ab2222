"""Controllers and gateways that die: what holds, and that the simulation finds it when the real code breaks one rule."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

import msgspec
import pytest

from synfire.control import adoption
from synfire.deploy import ledger
from synfire.deploy.healing import Healing
from synfire.deploy.remote import RemoteGateways
from synfire.gateway.route import WorkerRoute
from synfire.testing.simulation import Asked, Fault, Schedule, random_schedule, run
from synfire.testing.simulation.loop import Life, VirtualLoop
from synfire.testing.simulation.schedules import EXITS, ROLES

SEEDS = 400


def schedules(seeds=SEEDS):
    """Those of the seeds in which controller and gateways are processes."""
    return (each for each in map(random_schedule, range(seeds)) if each.gateways)


def violations(seeds=SEEDS):
    """What goes wrong in them, one after the other."""
    return (done.violation for done in map(run, schedules(seeds)) if done.violation)


def lived(faults, requests=(), gateways=2, spares=1):
    """A chain on three workers, with these faults."""
    placed = (("chain", ("w0", "w1", "w2"), 2),)
    return run(Schedule(1, placed, spares, tuple(requests), tuple(faults), gateways=gateways))


def words_of(done):
    """What a run tells, without times."""
    return [f"{who} {what}" for _, who, what in done.trace]


def test_a_life_that_is_over_runs_no_more():
    loop, found = VirtualLoop(), []

    async def live():
        try:
            await asyncio.sleep(1)
            found.append("goes on")
        finally:
            found.append("cleans up")

    async def main():
        life = Life("short")
        task = life.run(lambda: asyncio.ensure_future(live()))
        life.run(lambda: loop.add_reader(7, found.append, "reads"))
        await asyncio.sleep(0.5)
        life.end()
        loop.readable(7)
        await asyncio.sleep(5)
        assert not found
        assert life.relics == [task]
        return life

    loop.abandon([loop.run_until_complete(main())])
    assert found == ["cleans up"]


def test_a_worker_that_dies_while_no_controller_lives_is_replaced_by_the_next_one():
    asked = Asked("r0", "chain", 0.5, 0, 8)
    done = lived([Fault("kill controller", 0), Fault("kill", 0, on="controller died")], [asked])
    assert not done.violation, done.story()
    assert done.answered == 3  # a probe at each gateway, too
    told = words_of(done)
    assert told.count("controller begins") == 2
    assert any("cause=exit" in each for each in told[told.index("controller is dead") :])


def test_a_recovery_in_flight_is_carried_on_by_the_next_controller():
    for step in ("Suspend", "Adopt", "Relink", "Resume"):
        faults = [Fault("kill", 0, 1), Fault("kill controller", 0, on=step)]
        done = lived(faults, [Asked("r0", "chain", 0.001, 0, 20)])
        assert not done.violation, done.story()
        assert (done.answered, done.errors) == (3, 0)
        assert words_of(done).count("controller begins") == 2, step


def test_callers_of_a_gateway_that_dies_break_and_all_others_are_answered():
    asked = [Asked(f"r{n}", "chain", 0.0, n, 20) for n in range(4)]
    done = lived([Fault("kill gateway", 120, 0)], asked)
    assert not done.violation, done.story()
    told = words_of(done)
    broken = {each.split()[0] for each in told if "sees that gateway-0 is gone" in each}
    answered = {each.split()[0] for each in told if each.endswith("gets steps 0+20, the last")}
    assert broken
    assert answered
    assert broken | answered == {each.name for each in asked}
    assert not broken & answered


def test_schedules_kill_controllers_and_gateways_at_any_time():
    chosen = list(schedules(500))
    assert {fault.kind for each in chosen for fault in each.faults} >= set(ROLES)
    assert {fault.on for each in chosen for fault in each.faults} >= set(EXITS)
    assert {each.gateways for each in chosen} == {1, 2}


def test_a_controller_forgets_what_was_written(monkeypatch):
    right = ledger.read_ledger
    monkeypatch.setattr(
        "synfire.deploy.roles.controller.read_ledger",
        lambda deployment: msgspec.structs.replace(right(deployment), state=None),
    )
    assert next(violations(), None)


def test_a_ledger_that_is_not_written(monkeypatch):
    monkeypatch.setattr(ledger.Bookkeeper, "note", lambda books: None)
    assert re.search("ledger is not|not back|no end|left over|is not$", next(violations(), ""))


@pytest.mark.slow
def test_epochs_are_given_twice(monkeypatch):
    monkeypatch.setattr(adoption, "EPOCHS", 0)
    assert next(violations(1500), None)


@pytest.mark.slow
def test_a_new_controller_decides_before_it_has_heard_all(monkeypatch):
    right = Healing.take_over

    def wrong(hands, state, told):
        right(hands, state, ())
        hands.go_on()
        for event in told:
            hands.controller.tell(event)

    monkeypatch.setattr(Healing, "take_over", wrong)
    assert next(violations(1500), None)


@pytest.mark.slow
def test_gateways_are_not_fenced(monkeypatch):
    async def wrong(gateways, model, epoch):
        gateways._courses[model] = replace(gateways._courses[model], epoch=epoch, held=True)

    monkeypatch.setattr(RemoteGateways, "suspend", wrong)
    assert next(violations(1500), None)


def test_a_gateway_keeps_a_way_that_is_broken(monkeypatch):
    """A worker is suspected in vain, so gateways part from it, and the controller dies before it has another one host its models."""
    placed = (("twin", ("w0", "w0"), 3), ("fork", ("w0", "w0", "w0"), 3))
    asked = Asked("r0", "twin", 0.259, 3, 6, 1, part_steps=2)
    faults = (Fault("accuse", 42, 8, amount=0.062), Fault("kill controller", 0, 5, on="Suspend"))
    schedule = Schedule(3839, placed, 0, (asked,), faults, gateways=2)
    assert not run(schedule).violation
    monkeypatch.setattr(WorkerRoute, "broken", property(lambda route: False))
    assert "DeadlineExceeded" in str(run(schedule).violation)


@pytest.mark.slow
def test_schedules_reach_what_they_are_meant_to_try():
    told = "\n".join(what for each in schedules(700) for _, _, what in run(each).trace)
    for words in (
        "kills controller",
        "kills gateway-1",
        "is gone",
        "EpochSeen",
        "begin the session again",
        "hears TemporaryError: the link to controller is broken",
        "cannot reach the controller",
    ):
        assert re.search(words, told), words
