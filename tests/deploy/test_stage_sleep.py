"""Which stages are to sleep follows from the calls that gateways tell of, whatever replica or version they are of."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from synfire.control.state import ModelView
from synfire.deploy.stage_sleep import StageSleeper
from synfire.plan.replicas import Range, ranged
from synfire.testing.clock import FakeClock
from synfire.testing.simulation.models import model


class Story:
    """A model of three stages, of which the second sleeps after 10 s, the third after 60 s; `told` is what came of each look."""

    def __init__(self, name: str = "chain") -> None:
        _, plan = model("chain", ("w0", "w1", "w2"), 2)
        plan = ranged(msgspec.structs.replace(plan, model=name), {"s1": Range(0, 1, 10.0), "s2": Range(0, 3, 60.0)})
        self.view = ModelView(plan)
        self.clock = FakeClock()
        self.told: list[set[str]] = []
        self.sleeper = StageSleeper(lambda: [self.view], self.tell, self.clock)

    def tell(self, model: str, stages: frozenset[str]) -> None:
        self.told.append(set(stages))
        self.view = replace(self.view, resting=stages, suspended=self.view.epoch)

    def after(self, seconds: float, **calls: int) -> list[set[str]]:
        self.clock.advance(seconds)
        self.sleeper.look(calls)
        return self.told


def settled(view: ModelView) -> ModelView:
    """The view with every stage where it is wanted."""
    return replace(view, hosted={(each.name, each.worker): 0 for each in view.plan.stages})


def test_each_stage_sleeps_after_its_own_time_and_a_call_wakes_all() -> None:
    story = Story()
    story.view = settled(story.view)
    story.after(0.0, chain=1)
    assert story.after(9.0) == []
    assert story.after(1.0) == [{"s1"}]
    assert story.after(50.0) == [{"s1"}, {"s1", "s2"}]
    assert story.after(0.2, chain=2)[-1] == set()
    assert story.after(9.0)[-1] == set()


def test_a_long_call_keeps_all_awake() -> None:
    story = Story()
    story.view = settled(story.view)
    for _ in range(100):
        assert story.after(5.0, chain=1) == []


@pytest.mark.parametrize("name", ["chain#2", "chain@7", "chain@7#1"])
def test_a_call_of_the_name_is_one_of_each_replica_and_version(name) -> None:
    story = Story(name)
    story.view = settled(story.view)
    story.after(0.0)
    assert story.after(20.0, chain=1) == []
    assert story.after(20.0, other=1) == [{"s1"}]


def test_what_slept_when_a_controller_before_this_one_died_sleeps_on() -> None:
    story = Story()
    story.view = replace(settled(story.view), resting=frozenset({"s1"}))
    assert story.after(0.0) == []
    assert story.after(49.0) == []
    assert story.after(1.0) == [{"s1", "s2"}], (
        "ten seconds were over for the first, so that fifty are left for the other"
    )


def test_one_that_waits_for_workers_goes_no_further_to_sleep_but_wakes() -> None:
    story = Story()
    story.view = replace(settled(story.view), resting=frozenset({"s1"}), failure="a stage waits", waits="cpu")
    assert story.after(1000.0) == []
    assert story.after(1.0, chain=1) == [set()]


def test_a_model_that_sleeps_whole_is_left_alone() -> None:
    story = Story()
    story.view = replace(story.view, asleep=True)
    assert story.after(1000.0) == story.after(1.0, chain=1) == []


def test_a_stage_that_may_sleep_no_longer_wakes() -> None:
    story = Story()
    story.view = replace(settled(story.view), resting=frozenset({"s1"}))
    story.view = replace(story.view, plan=ranged(story.view.plan, {}))
    assert story.after(1.0) == [set()]
