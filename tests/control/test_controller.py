"""The loop around the core: what becomes of actions that fail, of hands that break, of a core that does."""

from __future__ import annotations

import asyncio

import pytest
from stories import answer, lost, plan, told

from synfire.base.clock import SystemClock
from synfire.base.errors import Bug, TemporaryError
from synfire.control import controller as loop
from synfire.control import events
from synfire.control.controller import Controller
from synfire.control.state import State


class Breaking:
    """Hands that do everything, but fail so often at one kind of action."""

    def __init__(self, kind, error, times=1):
        self.kind, self.error, self.times = kind, error, times
        self.controller = None

    async def act(self, action):
        if isinstance(action, self.kind) and self.times:
            self.times -= 1
            raise self.error
        return answer(self.controller.state, action)


def controlled(hands):
    state = told(State(), *(events.WorkerReady(0.0, name) for name in ("w0", "w1")))
    state = told(state, events.ModelAdded(0.0, plan("m", "w0", "w1")))
    hands.controller = Controller(hands, SystemClock(), lambda recovery: None, state)
    return hands.controller


@pytest.mark.parametrize("kind", [events.Suspend, events.Adopt, events.Relink, events.Resume])
@pytest.mark.parametrize("error", [Bug("broken"), KeyError("broken"), TemporaryError("not now")])
def test_an_action_that_fails_is_tried_again(kind, error, monkeypatch):
    monkeypatch.setattr(loop, "PAUSE_S", 0.001)

    async def main():
        controller = controlled(Breaking(kind, error, 3))
        controller.tell(lost("w1"))
        state = await asyncio.wait_for(controller.until(lambda state: state.calm and not state.finished), 60)
        assert [stage.worker for stage in state.models["m"].plan.stages] == ["w0", "w0"]
        await controller.close()

    asyncio.run(main())


def test_hands_that_break_are_told_of_loudly(caplog, monkeypatch):
    monkeypatch.setattr(loop, "PAUSE_S", 0.001)

    async def main():
        controller = controlled(Breaking(events.Adopt, KeyError("no such thing")))
        controller.tell(lost("w1"))
        await asyncio.wait_for(controller.until(lambda state: state.calm), 60)
        await controller.close()

    asyncio.run(main())
    (told_of,) = [each for each in caplog.records if each.levelname == "ERROR"]
    assert "Adopt" in told_of.getMessage()
    assert "no such thing" in str(told_of.exc_info)


def test_a_core_that_breaks_stops_the_controller_and_whoever_waits_for_it(caplog, monkeypatch):
    def broken(state, event):
        raise ZeroDivisionError("in the core")

    async def main():
        controller = controlled(Breaking(events.Keep, KeyError()))
        waiting = asyncio.create_task(controller.until(lambda state: not state.workers))
        await asyncio.sleep(0)
        monkeypatch.setattr(loop, "apply", broken)
        with pytest.raises(ZeroDivisionError):
            controller.tell(lost("w1"))
        with pytest.raises(Bug, match="the controller has stopped: in the core"):
            await asyncio.wait_for(waiting, 60)
        before = controller.state
        controller.tell(lost("w0"))
        assert controller.state is before
        await controller.close()

    asyncio.run(main())
    assert any(each.levelname == "CRITICAL" for each in caplog.records)
