"""What stages have to do is read from what their workers tell, and told as a number of replicas."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

import msgspec

from synfire.base.errors import Interrupted
from synfire.control.state import ModelView
from synfire.deploy.stage_scaling import LOOK_S, StageScaler
from synfire.plan.replicas import grown
from synfire.testing.clock import FakeClock
from synfire.testing.simulation.models import model
from synfire.wire.messages import Description, StageCount


@dataclass
class Worker:
    """One whose stages are busy for such shares of the time, with so many requests at each."""

    shares: dict[str, float]
    requests: int = 4
    gone: bool = False
    busy_s: dict[str, float] = field(default_factory=dict)

    async def describe(self) -> Description:
        if self.gone:
            raise Interrupted("it is gone")
        for name, share in self.shares.items():
            self.busy_s[name] = self.busy_s.get(name, 100.0) + share * LOOK_S
        stages = tuple(
            StageCount("chain", name, 1, 1, 1, seconds, 0, 0, (), requests=self.requests)
            for name, seconds in self.busy_s.items()
        )
        return Description("w", 1, 0, 0, 0, stages)


class Story:
    """A model of three stages, of which the second scales; `told` is what came of each look."""

    def __init__(self, least: int = 1, most: int = 3, **workers: Worker) -> None:
        _, plan = model("chain", ("w0", "w1", "w2"), 2)
        ranged = (msgspec.structs.replace(s, least=least, most=most) if s.name == "s1" else s for s in plan.stages)
        self.view = ModelView(msgspec.structs.replace(plan, stages=tuple(ranged)))
        self.clock = FakeClock()
        self.told: list[tuple[str, str, int]] = []
        self.scaler = StageScaler(workers.get, lambda: [self.view], self.tell, self.clock)

    def tell(self, model: str, stage: str, replicas: int) -> None:
        self.told.append((model, stage, replicas))
        self.view = replace(self.view, replicas={stage: replicas})

    def looks(self, count: int) -> list[tuple[str, str, int]]:
        async def look() -> None:
            for _ in range(count):
                self.clock.advance(LOOK_S)
                await self.scaler.look()

        asyncio.run(look())
        return self.told


def test_a_busy_stage_is_told_once() -> None:
    assert Story(w1=Worker({"s1": 0.95})).looks(20) == [("chain", "s1", 2)]


def test_a_stage_with_little_to_do_is_left_alone() -> None:
    assert Story(w1=Worker({"s1": 0.3})).looks(20) == []
    assert Story(w1=Worker({"s1": 0.95}, requests=1)).looks(20) == []


def test_what_other_stages_take_of_the_worker_counts() -> None:
    assert Story(w1=Worker({"s1": 0.45, "s0": 0.5})).looks(20) == [("chain", "s1", 2)]


def test_the_work_of_all_replicas_counts_together() -> None:
    story = Story(w1=Worker({"s1": 0.9}), w3=Worker({"s1#2": 0.9}))
    story.view = replace(story.view, plan=grown(story.view.plan, "s1", "w3"), replicas={"s1": 2})
    assert story.looks(20) == [("chain", "s1", 3)]


def test_with_less_to_do_fewer_are_told_after_a_while() -> None:
    busy, other = Worker({"s1": 0.8}), Worker({"s1#2": 0.7})
    story = Story(w1=busy, w3=other)
    story.view = replace(story.view, plan=grown(story.view.plan, "s1", "w3"), replicas={"s1": 2})
    story.looks(20)
    busy.shares, other.shares = {"s1": 0.1}, {"s1#2": 0.1}
    assert story.looks(40)[-1:] != [("chain", "s1", 1)]
    assert story.looks(140)[-1] == ("chain", "s1", 1)


def test_who_is_gone_says_nothing() -> None:
    worker = Worker({"s1": 0.95}, gone=True)
    story = Story(w1=worker)
    assert story.looks(20) == []
    worker.gone = False
    assert story.looks(20) == [("chain", "s1", 2)]


def test_a_stage_with_a_number_of_replicas_is_not_looked_at() -> None:
    worker = Worker({"s1": 0.95})
    assert Story(2, 2, w1=worker).looks(5) == []
    assert not worker.busy_s, "nobody has asked it"


def test_a_replica_that_is_coming_is_not_called_off_by_a_moment_with_less_to_do() -> None:
    worker = Worker({"s1": 0.95})
    story = Story(w1=worker)
    assert story.looks(20) == [("chain", "s1", 2)]
    worker.shares = {"s1": 0.6}
    assert story.looks(20) == [("chain", "s1", 2)], (
        "two of them would be busy for 0.3 each now, and for 0.48 a moment ago"
    )
