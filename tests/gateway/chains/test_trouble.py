"""Steps that fail, take too long, or are waited for in vain; and callers that go away."""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest

from synfire.base.errors import (
    Bug,
    DeadlineExceeded,
    Overloaded,
    PermanentError,
    SynfireError,
    TemporaryError,
    UserError,
)
from synfire.gateway.limits import Limits
from synfire.gateway.request import Request

STEP = """
[steps.first]
model = "first"
inputs = { x = "request.x" }
[steps.weak]
model = "weak"
inputs = { x = "first" }
MORE
[outputs]
y = "weak"
"""

X = [[1.0, 2.0]]


def failing(error: Exception, times: int = 10**6) -> Any:
    """Raises the error so many times, then gives what it is given."""
    left = [times]

    def work(x: Any) -> Any:
        left[0] -= 1
        if left[0] >= 0:
            raise error
        return x

    return work


@pytest.mark.parametrize(
    "error",
    [
        UserError("that is no picture; send one"),
        TemporaryError("nobody is there; try again", 3.5),
        Overloaded("too many; wait", 0.5),
        PermanentError("the disk is gone; mend it"),
        DeadlineExceeded("it took too long"),
    ],
)
def test_an_error_stops_the_chain_and_says_where(desk: Any, doing: Any, error: SynfireError) -> None:
    async def tell() -> None:
        there = desk({"first": doing(), "weak": doing(failing(error))}, STEP.replace("MORE", ""))
        with pytest.raises(type(error)) as raised:
            await there.infer(x=X)
        assert str(raised.value) == f"chain 'c' stopped at step 'weak' (model 'weak'): {error}"
        assert getattr(raised.value, "retry_after_s", None) == getattr(error, "retry_after_s", None)
        assert sum(there.counts("weak").values()) == 1
        assert "ok" not in there.counts("weak")

    asyncio.run(tell())


def test_what_nobody_foresaw_is_a_bug_that_names_the_step(desk: Any, doing: Any) -> None:
    async def tell() -> None:
        there = desk({"first": doing(), "weak": doing(failing(KeyError("z")))}, STEP.replace("MORE", ""))
        with pytest.raises(Bug, match=re.escape("stopped at step 'weak' (model 'weak'): KeyError: 'z'")):
            await there.infer(x=X)

    asyncio.run(tell())


def test_a_step_is_tried_again_as_often_as_it_says_where_that_may_help(desk: Any, doing: Any) -> None:
    async def tell(times: int) -> Any:
        there = desk(
            {"first": doing(), "weak": doing(failing(TemporaryError("away", 0.001), times))},
            STEP.replace("MORE", "retries = 2"),
        )
        try:
            answer = await there.infer(x=X)
        finally:
            assert there.route.counts["weak"].retries == min(times, 2)
            assert len(there.plane.model("first").route.calls) == 1
        return answer

    assert asyncio.run(tell(2)) == {"y": X}
    with pytest.raises(TemporaryError, match="step 'weak'"):
        asyncio.run(tell(3))


def test_a_request_at_fault_is_not_tried_again(desk: Any, doing: Any) -> None:
    async def tell() -> None:
        there = desk({"first": doing(), "weak": doing(failing(UserError("no")))}, STEP.replace("MORE", "retries = 5"))
        with pytest.raises(UserError):
            await there.infer(x=X)
        assert len(there.plane.model("weak").route.calls) == 1

    asyncio.run(tell())


def test_a_step_that_takes_too_long_is_given_up_and_said_so(desk: Any, doing: Any) -> None:
    async def tell() -> None:
        weak = doing(gate=asyncio.Event())
        there = desk({"first": doing(), "weak": weak}, STEP.replace("MORE", "timeout_s = 0.02\nretries = 1"))
        with pytest.raises(
            DeadlineExceeded,
            match=r"chain 'c' stopped at step 'weak' \(model 'weak'\): request .*\.weak~1 of model 'weak' passed its deadline",
        ):
            await there.infer(x=X)
        assert (len(weak.calls), weak.cancelled) == (2, 2)

    asyncio.run(tell())


def test_the_requests_deadline_ends_the_chain_wherever_it_is(desk: Any, doing: Any) -> None:
    async def tell() -> None:
        weak = doing(gate=asyncio.Event())
        there = desk({"first": doing(), "weak": weak}, STEP.replace("MORE", "retries = 9"))
        with pytest.raises(DeadlineExceeded):
            await there.infer(x=X, options={"timeout_s": 0.05})
        assert (len(weak.calls), weak.running) == (1, 0)

    asyncio.run(tell())


def test_a_caller_that_goes_away_cancels_what_is_under_way(desk: Any, doing: Any) -> None:
    both = '[steps.a]\nmodel = "first"\ninputs = { x = "request.x" }\n[steps.b]\nmodel = "weak"\ninputs = { x = "request.x" }\n[outputs]\ny = "a"\nz = "b"\n'

    async def tell(chain: str) -> None:
        gate = asyncio.Event()
        first, weak = doing(gate=gate), doing(gate=gate)
        there = desk({"first": first, "weak": weak}, chain)
        asking = asyncio.create_task(there.infer(x=X))
        while not first.running:
            await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert first.running == weak.running == there.plane.model("c").gate.running == 0
        assert first.cancelled == 1
        assert there.plane.model("c").statistics.outcomes["cancelled"] == 1

    asyncio.run(tell(STEP.replace("MORE", "")))
    asyncio.run(tell(both))


def test_an_error_cancels_the_steps_beside_it(desk: Any, doing: Any) -> None:
    both = '[steps.a]\nmodel = "slow"\ninputs = { x = "request.x" }\n[steps.b]\nmodel = "weak"\ninputs = { x = "request.x" }\n[outputs]\ny = "a"\nz = "b"\n'

    async def tell() -> None:
        slow = doing(gate=asyncio.Event())
        there = desk({"slow": slow, "weak": doing(failing(PermanentError("gone")))}, both)
        with pytest.raises(PermanentError, match="step 'b'"):
            await there.infer(x=X)
        assert (slow.running, there.counts("a"), there.counts("b")) == (0, {"cancelled": 1}, {"permanent": 1})

    asyncio.run(tell())


QUORUM = """
[steps.vote]
ensemble = ["one", "two", "three"]
vote = "mean"
inputs = { x = "request.x" }
QUORUM
[outputs]
y = "vote"
"""


def test_an_ensemble_goes_on_without_members_where_enough_answer(desk: Any, doing: Any) -> None:
    async def tell(quorum: str, lost: str) -> Any:
        models = {
            name: doing(failing(PermanentError("gone")) if name in lost else (lambda x: x))
            for name in ("one", "two", "three")
        }
        return await desk(models, QUORUM.replace("QUORUM", quorum)).infer(x=X)

    assert asyncio.run(tell("quorum = 2", "two")) == {"y": X}
    for quorum, lost in (("quorum = 2", "one two"), ("", "three")):
        with pytest.raises(PermanentError, match=r"step 'vote' \(model '(one|three)'\): gone"):
            asyncio.run(tell(quorum, lost))


def test_a_chain_is_ready_when_all_its_models_are(desk: Any, doing: Any) -> None:
    async def tell() -> None:
        there = desk({"first": doing(), "weak": doing()}, STEP.replace("MORE", ""))
        assert there.plane.ready
        there.plane.model("weak").route.ready = False
        assert not there.plane.model("c").ready
        assert (
            "model 'weak', which a step of it calls, is not ready"
            in there.plane.condition(there.plane.model("c")).reason
        )
        there.plane.remove("weak")
        assert there.plane.model("c").failure == "model 'weak', which a step of it calls, is not served here"
        with pytest.raises(UserError, match=r"step 'weak' \(model 'weak'\): there is no model named 'weak'"):
            await there.infer(x=X)

    asyncio.run(tell())


def test_a_chain_that_was_accepted_is_answered_while_the_gateway_shuts_down(desk: Any, doing: Any) -> None:
    async def tell() -> None:
        gate = asyncio.Event()
        first, weak = doing(gate=gate), doing(lambda x: x * 2)
        there = desk({"first": first, "weak": weak}, STEP.replace("MORE", ""))
        asking = asyncio.create_task(there.infer(x=X))
        while not first.running:
            await asyncio.sleep(0)
        draining = asyncio.create_task(there.plane.drain())
        await asyncio.sleep(0)
        with pytest.raises(TemporaryError, match="shutting down"):
            await there.infer(x=X)
        gate.set()
        assert await asking == {"y": [[2.0, 4.0]]}
        await draining

    asyncio.run(tell())


def test_the_queue_of_a_steps_model_counts(desk: Any, doing: Any) -> None:
    async def tell() -> None:
        gate = asyncio.Event()
        there = desk(
            {"first": doing(), "weak": doing(gate=gate)}, STEP.replace("MORE", ""), Limits(in_flight=1, queued=0)
        )
        direct = asyncio.create_task(there.plane.infer(Request("weak", {"x": np.float32(X)})))
        while not there.plane.model("weak").gate.running:
            await asyncio.sleep(0)
        with pytest.raises(Overloaded, match=r"step 'weak' \(model 'weak'\): model 'weak' works on 1 calls"):
            await there.infer(x=X)
        gate.set()
        await direct

    asyncio.run(tell())


def test_a_stream_that_is_closed_ends_its_step(desk: Any, doing: Any, forming: Any) -> None:
    async def tell() -> None:
        there = desk({"first": doing(), "weak": forming()}, STEP.replace("MORE", ""))
        async with aclosing(there.plane.stream(Request("c", {"x": np.float32(X)}))) as answers:
            assert (await anext(answers)).outputs["y"].tolist() == (np.float32(X) * np.float32(1 / 3)).tolist()
        assert there.plane.model("c").gate.running == there.plane.model("weak").gate.running == 0

    asyncio.run(tell())
