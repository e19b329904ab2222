"""What somebody wants by HTTP is carried out, told, changed in place, tried again, and kept over a controller's death."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from synfire.base.errors import TemporaryError, UnknownName, UserError
from synfire.deploy import wishes as module
from synfire.deploy.ledger import Wanted
from synfire.deploy.scaling import Scaler
from synfire.deploy.wishes import Proposal, Wishes
from synfire.plan.plan import Plan, Stage
from synfire.plan.replicas import Range, ranged, ranges
from synfire.wire.messages import Pressure
from synfire.wire.wish import Scale, StageScale, Wish

PATIENCE_S = 20.0


class Deployment:
    """Serves whatever it is told to; `failures` are raised instead, one for each plan."""

    def __init__(self):
        self.served, self.ranked, self.planned, self.failures = {}, {}, [], []
        self.sleeping, self.retired = set(), []
        self.changed = asyncio.Event()
        self.wishes = Wishes(self.propose, self.serve, self.withdraw, self, self.served, self.changed.set)

    async def propose(self, name, wish):
        self.planned.append(wish)
        if self.failures:
            raise self.failures.pop(0)
        plan = Plan(
            model=name,
            granularity=wish.granularity,
            stages=(Stage(name="s", operators=("o",), worker="place-0"),),
            links=(),
            frame_steps=1,
        )
        return Proposal(wish, Wanted(name=name, version="1", source=wish.source, digest="d", plan=plan))

    async def serve(self, wanted):
        self.served[wanted.name] = wanted
        return ""

    async def withdraw(self, name):
        del self.served[name]

    def rank(self, name, priority):
        self.ranked[name] = priority
        self.served[name] = msgspec.structs.replace(self.served[name], priority=priority)

    def replicate(self, name, ranges):
        served = self.served[name]
        self.served[name] = msgspec.structs.replace(served, plan=ranged(served.plan, ranges))
        self.changed.set()

    def sleep(self, name, asleep):
        (self.sleeping.add if asleep else self.sleeping.discard)(name)
        self.changed.set()

    def asleep(self, name):
        return name in self.sleeping

    async def retire(self, name):
        self.retired.append(name)

    async def until(self, holds):
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                self.changed.clear()
                await self.changed.wait()

    async def becomes(self, name, status):
        await self.until(lambda: any((each.name, each.status) == (name, status) for each in self.wishes.told))
        return next(each for each in self.wishes.told if each.name == name)


def story(tell):
    async def main():
        here = Deployment()
        try:
            await tell(here)
        finally:
            await here.wishes.close()

    asyncio.run(main())


def test_a_model_is_planned_once_and_served_in_as_many_replicas_as_are_wanted():
    async def tell(here):
        assert here.wishes.want("net", Wish("svgg", replicas=2, priority=3))
        await here.until(lambda: len(here.served) == 2)
        assert (await here.becomes("net", "accepted")).models == ("net#1", "net#2")
        assert {each.plan.model for each in here.served.values()} == {"net#1", "net#2"}
        assert {each.priority for each in here.served.values()} == {3}
        assert len(here.planned) == 1

    story(tell)


def test_asking_twice_is_asking_once():
    async def tell(here):
        assert here.wishes.want("net", Wish("svgg"))
        await here.until(lambda: here.served)
        assert not here.wishes.want("net", Wish("svgg"))
        assert len(here.planned) == 1

    story(tell)


def test_replicas_and_priority_change_in_place():
    async def tell(here):
        here.wishes.want("net", Wish("svgg", replicas=3))
        await here.until(lambda: len(here.served) == 3)
        first = here.served["net#1"]
        here.wishes.want("net", Wish("svgg", replicas=1, priority=5))
        await here.until(lambda: set(here.served) == {"net#1"} and here.ranked == {"net#1": 5})
        assert here.served["net#1"].plan is first.plan
        assert len(here.planned) == 1

    story(tell)


def test_another_rate_is_planned_anew():
    async def tell(here):
        here.wishes.want("net", Wish("svgg"))
        await here.until(lambda: here.served)
        here.wishes.want("net", Wish("svgg", rate=20.0))
        await here.until(lambda: len(here.planned) == 2)
        await here.becomes("net", "accepted")

    story(tell)


def test_replicas_of_stages_change_in_place_and_for_replicas_of_the_model_that_come_later():
    async def tell(here):
        here.wishes.want("net", Wish("svgg"))
        await here.until(lambda: here.served)
        here.wishes.want("net", Wish("svgg", stages={"s": StageScale(3, 2)}))
        await here.until(lambda: ranges(here.served["net#1"].plan) == {"s": Range(2, 3)})
        here.wishes.want("net", Wish("svgg", stages={"s": StageScale(3, 2)}, replicas=2))
        await here.until(lambda: len(here.served) == 2)
        assert ranges(here.served["net#2"].plan) == {"s": Range(2, 3)}
        here.wishes.want("net", Wish("svgg", replicas=2))
        await here.until(lambda: not any(ranges(each.plan) for each in here.served.values()))
        assert len(here.planned) == 1

    story(tell)


def test_a_stage_that_a_served_model_has_not_changes_nothing():
    async def tell(here):
        here.wishes.want("net", Wish("svgg"))
        await here.until(lambda: here.served)
        here.wishes.want("net", Wish("svgg", stages={"t": StageScale(2)}))
        assert "stage of net named 't'" in (await here.becomes("net", "failed")).reason
        assert ranges(here.served["net#1"].plan) == {}
        here.wishes.want("net", Wish("svgg"))
        await here.becomes("net", "accepted")

    story(tell)


def test_another_plan_is_made_before_the_old_one_goes():
    async def tell(here):
        here.wishes.want("net", Wish("svgg"))
        await here.until(lambda: here.served)
        here.failures.append(UserError("no such device"))
        here.wishes.want("net", Wish("svgg", device="cuda"))
        assert "no such device" in (await here.becomes("net", "failed")).reason
        assert here.served["net#1"].plan.granularity == "auto"
        here.wishes.want("net", Wish("svgg", granularity="block"))
        await here.until(lambda: here.served and here.served["net#1"].plan.granularity == "block")

    story(tell)


def test_what_may_pass_is_tried_again(monkeypatch):
    monkeypatch.setattr(module, "AGAIN_S", 0.0)

    async def tell(here):
        here.failures += [TemporaryError("busy"), TemporaryError("busy")]
        here.wishes.want("net", Wish("svgg"))
        await here.until(lambda: here.served)
        assert len(here.planned) == 3
        assert (await here.becomes("net", "accepted")).reason == ""

    story(tell)


def test_what_is_wanted_no_longer_is_withdrawn_and_then_unknown():
    async def tell(here):
        here.wishes.want("net", Wish("svgg", replicas=2))
        await here.until(lambda: len(here.served) == 2)
        here.wishes.drop("net")
        await here.until(lambda: not here.wishes.told)
        assert here.served == {}
        with pytest.raises(UnknownName, match="net"):
            here.wishes.drop("net")

    story(tell)


def test_the_next_controller_goes_on_without_planning_again():
    async def tell(here):
        here.wishes.want("net", Wish("svgg", replicas=2))
        await here.until(lambda: len(here.served) == 2)
        kept = here.wishes.kept
        after = Deployment()
        after.served.update({"net#1": here.served["net#1"]})  # the other one was being served when it died
        after.wishes.begin(kept)
        await after.until(lambda: len(after.served) == 2)
        assert after.planned == []

    story(tell)


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (Wish("./net"), "and no path"),
        (Wish("/etc/passwd"), "and no path"),
        (Wish("a=b"), "and no path"),
        (Wish(""), "is no name"),
        (Wish("net", granularity="atom"), "it is one of auto, operator"),
        (Wish("net", accept="sound"), "it is one of tensor"),
        (Wish("net", replicas=-1), "0 to 99"),
        (Wish("net", workers=0), "1 to 256"),
        (Wish("net", rate=0.0), "'net' is to bear 0 requests a second; ask for more than 0, and 1000000 at most"),
        (Wish("net", rate=-1.0), "is to bear -1 requests a second"),
        (Wish("net", rate=2e6), "or leave the rate out"),
        (Wish("net", variant_of="old", rate=20.0), "leave out .* and rate"),
        (Wish("net", context=0), "1 token or more"),
        (Wish("net", profile="auto", device="cuda"), "leave one out"),
        (Wish("net", stages={"conv": StageScale(2, 3)}), "stage net.conv is to have from 3 to 2 replicas"),
        (Wish("net", stages={"conv": StageScale(100)}), "1 to 99 at the most"),
        (Wish("net", stages={"conv": StageScale(0, 0)}), "1 to 99 at the most"),
        (Wish("net", stages={"conv": StageScale(2, -1)}), "ask for 0 or more at the least"),
        (Wish("net", stages={"conv": StageScale(2, 0, -1.0)}), "stage net.conv is to sleep after -1 s"),
    ],
)
def test_what_cannot_be_is_refused_at_once(wish, words):
    with pytest.raises(UserError, match=words):
        wish.check("net", ("auto", "operator"), ("cpu", "cuda"))


def test_one_that_scales_has_as_many_replicas_as_it_is_told_and_sleeps_at_none():
    async def tell(here):
        here.wishes.want("net", Wish("svgg", scale=Scale(most=3, least=0)))
        await here.until(lambda: set(here.served) == {"net#1"})
        assert here.wishes.scaled == {"net": Scale(most=3, least=0)}
        here.wishes.scale("net", 3)
        await here.until(lambda: len(here.served) == 3)
        here.wishes.scale("net", 0)
        await here.until(lambda: here.sleeping == {"net#1"})
        assert set(here.served) == {"net#1"}
        assert sorted(here.retired) == ["net#2", "net#3"]
        assert here.wishes.awake("net") == 0
        here.wishes.scale("net", 2)
        await here.until(lambda: len(here.served) == 2 and not here.sleeping)
        assert len(here.planned) == 1

    story(tell)


class Clock:
    def __init__(self):
        self.at_s = 0.0

    def now_s(self):
        return self.at_s


class Models:
    """One model that scales, with as many replicas as it was told last."""

    def __init__(self, scale):
        self.scaled, self.count = {"net": scale}, 1

    def awake(self, name):
        return self.count

    def scale(self, name, count):
        self.count = count


def test_calls_of_all_gateways_count_together_until_one_of_them_is_gone():
    models, clock = Models(Scale(most=9, calls=2.0)), Clock()
    scaler = Scaler(models, clock)
    scaler.hear("gateway-0", Pressure({"net": 6}))
    scaler.hear("gateway-1", Pressure({"net": 6, "other": 50}))
    for _ in range(20):
        clock.at_s += 1
        scaler.look()
    assert models.count == 6
    scaler.hear("gateway-1", Pressure())
    for _ in range(60):
        clock.at_s += 1
        scaler.look()
    assert models.count == 3


def test_the_first_call_wakes_at_once():
    models, clock = Models(Scale(most=2, least=0, idle_s=10.0)), Clock()
    scaler = Scaler(models, clock)
    for _ in range(40):
        clock.at_s += 1
        scaler.look()
    assert models.count == 0
    scaler.hear("gateway-0", Pressure({"net": 1}))
    scaler.look()
    assert models.count == 1
