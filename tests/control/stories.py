"""What the stories about the controller's pure core are told with: plans, states, and a world in which every action succeeds."""

from __future__ import annotations

from synfire.control import events
from synfire.control.apply import apply
from synfire.control.decide import decide
from synfire.control.losses import adopted, adopting, starting
from synfire.control.state import State
from synfire.plan.plan import Plan, Stage


def plan(model, *workers, size=0, engine="cpu", busy_s=0.0, cores=None, events=0.0, rate=0.0):
    """A chain of stages `s0`, `s1`, …, one on each of `workers`; those given as `worker:engine` run on that engine, and take `cores` of it, and
    `events` a request, of which there are to be `rate` a second."""
    stages = []
    for n, each in enumerate(workers):
        worker, _, other = each.partition(":")
        stages.append(
            Stage(
                name=f"s{n}", operators=(f"o{n}",), worker=worker, engine=other, memory_bytes=size, busy_s=busy_s,
                cores=cores if other else None, events=events if other else 0.0,
            )
        )  # fmt: skip
    return Plan(
        model=model, granularity="operator", stages=tuple(stages), links=(), frame_steps=4, engine=engine, rate=rate
    )


def told(state, *happened):
    """The state after these events."""
    for event in happened:
        state = apply(state, event)
    return state


def serving(*plans, workers, kinds=None, priorities=None, devices=None, **settings):
    """The state in which the plans are served by these workers; `kinds` and `priorities` are by name. Beside those that the workers
    have, so many `devices` are free."""
    kind = {name: (kinds or {}).get(name, "cpu") for name in workers}
    taken = list(kind.values())
    state = State(devices={each: free + taken.count(each) for each, free in (devices or {}).items()}, **settings)
    for name in workers:
        ready = events.WorkerReady(
            0.0, name, kind[name], memory_bytes=state.memory_bytes, cores=state.cores.get(kind[name])
        )
        state = apply(state, ready)
    return told(state, *(events.ModelAdded(0.0, each, (priorities or {}).get(each.model, 0)) for each in plans))


def lost(name, at_s=2.0, cause="exit"):
    return events.WorkerLost(at_s, name, cause, at_s)


def answer(state, action, at_s=3.0, replayed=0):
    """What the world answers when an action succeeds; `replayed` calls begin again when a model goes on."""
    match action:
        case events.Suspend(model, epoch):
            return events.Suspended(at_s, model, epoch)
        case events.Adopt(model, stage, worker, epoch):
            return events.Adopted(at_s, model, stage, worker, epoch)
        case events.Relink(model, worker, stages, epoch):
            return events.Relinked(at_s, model, worker, stages, epoch)
        case events.Resume(model, epoch):
            return events.Resumed(at_s, model, epoch, replayed)
        case events.GiveUp(model, reason):
            return events.GivenUp(at_s, model, reason)
        case events.Start(worker, kind):
            return events.WorkerReady(at_s, worker, kind, memory_bytes=state.memory_bytes, cores=state.cores.get(kind))
        case events.Renew(worker, successor):
            old = state.workers[worker]
            nature = (old.kind, old.group, state.memory_bytes)
            return events.WorkerReady(at_s, successor, *nature, joined=True, role=old.role)
        case events.Prepare(model, stage, worker):
            return events.PreparedOn(at_s, model, stage, worker)
        case events.Drop(model, worker, stages):
            return events.Dropped(at_s, model, worker, stages)
        case events.Retire(worker):
            return events.WorkerLost(at_s, worker, "retired", at_s)
        case events.Answer(order):
            return events.Answered(at_s, order)
        case events.Keep(number):
            return events.Kept(at_s, number)
    raise AssertionError(action)


def done(state, action, no_starts=False):
    """The state after an action was carried out; with `no_starts` no worker can be started."""
    if isinstance(action, events.Start):
        state = starting(state, action.worker, action.kind)
        if no_starts:
            return apply(state, events.WorkerLost(3.0, action.worker, "did not start", 3.0))
    if isinstance(action, events.Adopt):
        state = adopted(adopting(state, action), action)
    return apply(state, answer(state, action))


def until_quiet(state, no_starts=False, till=None):
    """Do everything that is decided until nothing is, or `till` holds; the state then, and all that was done."""
    log = []
    for _ in range(300):
        actions = decide(state)
        if not actions or (till is not None and till(state)):
            return state, log
        log.append(actions[0])
        state = done(state, actions[0], no_starts)
    raise AssertionError(f"never quiet: {actions}")


def homes(state, model):
    """The workers of the model's stages."""
    return [stage.worker for stage in state.models[model].plan.stages]
