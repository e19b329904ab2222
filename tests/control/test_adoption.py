"""A controller is killed anywhere in a failure story, and the next one goes on from an older record and from what it finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st
from stories import done, lost, plan, serving, told

from synfire.control import events
from synfire.control.adoption import Found, taken_over
from synfire.control.decide import decide

PLANS = (plan("a", "w0", "w1", "w0"), plan("b", "w1", "w2"))
WORKERS = ("w0", "w1", "w2", "spare-0")


@dataclass
class World:
    """What there really is: the epochs of stages on workers, and what gateways follow."""

    workers: dict[str, dict[tuple[str, str], int]] = field(default_factory=lambda: {name: {} for name in WORKERS})
    followed: dict[str, tuple[int, object]] = field(default_factory=dict)

    @classmethod
    def serving(cls) -> World:
        world = cls()
        for each in PLANS:
            for stage in each.stages:
                world.workers[stage.worker][each.model, stage.name] = 0
            world.followed[each.model] = 0, each
        return world

    def suffers(self, state, action):
        match action:
            case events.Adopt(model, stage, worker, epoch):
                self.workers[worker][model, stage] = epoch
            case events.Relink(model, worker, stages, epoch):
                self.workers[worker] |= {(model, stage): epoch for stage in stages}
            case events.Resume(model, epoch):
                self.followed[model] = epoch, state.models[model].plan
            case events.Start(worker):
                self.workers[worker] = {}
            case events.Drop(model, worker, stages):
                for stage in stages:
                    self.workers[worker].pop((model, stage), None)

    def attended(self, state):
        """Gateways hear how things stand, unless they are being moved."""
        for name, model in state.models.items():
            if model.settled and not model.failure:
                self.followed[name] = model.epoch, model.plan


def live(state, world, most=200):
    """Carry out one action after the other; each state, with what was done."""
    for _ in range(most):
        actions = decide(state)
        if not actions:
            return
        world.suffers(state, actions[0])
        state = done(state, actions[0])
        yield state, actions[0]
    raise AssertionError(f"never quiet: {actions}")


def quiet(state, world):
    """The state when nothing is left to do."""
    return [state, *(after for after, _ in live(state, world))][-1]


def next_controller(written, world, now_s=9.0):
    """The state with which the next controller begins."""
    state, happened = taken_over(written, Found(world.workers), now_s)
    return told(state, *happened)


def in_order(state, world):
    """Every model runs where it is wanted, and gateways know where that is."""
    for name, model in state.models.items():
        assert not model.failure
        assert world.followed[name] == (model.epoch, model.plan)
        for stage in model.plan.stages:
            assert world.workers[stage.worker][name, stage.name] == model.epoch


def test_what_is_in_order_is_not_disturbed():
    state = serving(*PLANS, workers=WORKERS)
    after = next_controller(state, World.serving())
    assert {name: model.epoch for name, model in after.models.items()} == {"a": 0, "b": 0}
    assert decide(after) == decide(state)


def test_a_worker_that_died_meanwhile_is_replaced():
    world = World.serving()
    del world.workers["w1"]
    state = next_controller(serving(*PLANS, workers=WORKERS), world)
    assert [each.lost for each in state.recoveries] == ["w1"]
    state = quiet(state, world)
    in_order(state, world)
    assert {model.epoch for model in state.models.values()} == {1}


def test_an_epoch_that_only_workers_know_is_over():
    world = World.serving()
    world.workers["w0"]["a", "s0"] = 6
    state = next_controller(serving(*PLANS, workers=WORKERS), world)
    assert (state.models["a"].epoch, state.models["b"].epoch) == (7, 0)
    state = quiet(state, world)
    in_order(state, world)


def test_an_epoch_that_only_a_gateway_knows_is_over():
    state = told(serving(*PLANS, workers=WORKERS), events.EpochSeen(1.0, "a", 4), events.EpochSeen(1.0, "b", 0))
    assert (state.models["a"].epoch, state.models["b"].epoch) == (5, 0)
    assert not state.models["a"].settled
    assert told(state, events.EpochSeen(1.0, "none", 4)) == state


def test_a_worker_nobody_wrote_down_is_counted_on_and_its_name_is_given_to_no_other():
    world = World.serving()
    world.workers["spare-9"] = {}
    state = next_controller(serving(*PLANS, workers=WORKERS, spares=3), world)
    assert "spare-9" in state.workers
    assert [each.worker for each in decide(state) if isinstance(each, events.Start)] == ["spare-10"]


def test_a_worker_that_is_still_being_started_is_awaited():
    world = World.serving()
    state = serving(*PLANS, workers=WORKERS[:-1], spares=1)
    (start,) = (each for each in decide(state) if isinstance(each, events.Start))
    state = done(state, start).with_worker(state.workers["w0"])
    state, _ = taken_over(state, Found(world.workers, starting={start.worker}), 9.0)
    assert start.worker in state.workers


def test_recoveries_on_record_are_not_written_again():
    state = serving(*PLANS, workers=WORKERS)
    world = World.serving()
    del world.workers["w0"]
    state = next(after for after, _ in live(told(state, lost("w0")), world) if after.finished)
    (recovery,) = state.finished
    after, _ = taken_over(state, Found(world.workers, kept={recovery.id}), 9.0)
    assert (after.finished, after.next_id) == ((), recovery.id + 1)
    later, _ = taken_over(state, Found(world.workers, kept={recovery.id + 5}), 9.0)
    assert (later.finished, later.next_id) == ((recovery,), recovery.id + 6)


@given(
    first=st.sampled_from(WORKERS),
    killed_after=st.integers(0, 40),
    behind=st.integers(0, 6),
    second=st.sampled_from(["", *WORKERS]),
    spares=st.integers(0, 2),
)
def test_killed_anywhere_it_all_comes_right_in_the_end(first, killed_after, behind, second, spares):
    world = World.serving()
    state = serving(*PLANS, workers=WORKERS, spares=spares, born=1)
    del world.workers[first]
    history = [state, told(state, lost(first))]
    history += (after for after, _ in islice(live(history[-1], world), killed_after))
    world.workers.pop(second, None)  # dies while nobody looks
    followed = dict(world.followed)
    state = next_controller(history[max(0, len(history) - 1 - behind)], world)
    world.attended(state)
    state = quiet(state, world)
    in_order(state, world)
    for name, (epoch, way) in followed.items():
        model = state.models[name]
        assert model.epoch > epoch or (model.epoch, model.plan) == (epoch, way)
    numbers = [each.id for each in (*state.recoveries, *state.finished)]
    assert len(set(numbers)) == len(numbers)
