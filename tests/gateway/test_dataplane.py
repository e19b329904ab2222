"""The data plane by itself: admission, order, deadlines, sessions, drain, counters."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from synfire.base.errors import (
    Bug,
    DeadlineExceeded,
    Overloaded,
    PermanentError,
    TemporaryError,
    UnknownName,
    UserError,
)
from synfire.gateway.call import Part
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.echo import EchoRoute
from synfire.gateway.limits import Limits
from synfire.gateway.request import Request
from synfire.graph import reference

X = np.linspace(0, 1, 3 * 32 * 32, dtype=np.float32).reshape(1, 3, 32, 32)


def request(**changes) -> Request:
    return Request(**{"model": "m", "inputs": {"x": X}, **changes})


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 20))


def plane_of(route, **limits) -> DataPlane:
    plane = DataPlane(Limits(**limits))
    plane.add("m", route)
    return plane


def test_an_answer_equals_the_reference(routes):
    rng, graph = np.random.default_rng(1), routes.spiking_graph()
    x = rng.random((3, 4), np.float32)

    async def story():
        return await plane_of(routes.reference(graph)).infer(request(inputs={"x": x}))

    answer, expected = run(story()), reference.run(graph, {"x": x})
    np.testing.assert_array_equal(answer.outputs["rate"], expected["rate"])
    np.testing.assert_array_equal(answer.outputs["spikes"], expected["spikes"].swapaxes(0, 1))
    assert (answer.steps, answer.last, answer.version) == (6, True, "1")


def test_a_streamed_answer_adds_up_to_the_whole(routes):
    rng, graph = np.random.default_rng(2), routes.spiking_graph(encoded=False)
    x = rng.random((2, 7, 4), np.float32) * 2

    async def story():
        plane = plane_of(routes.reference(graph))
        whole = await plane.infer(request(inputs={"x": x}))
        return whole, [part async for part in plane.stream(request(inputs={"x": x}))]

    whole, parts = run(story())
    assert [(part.first_step, part.steps, part.last) for part in parts] == [(0, 2, 0), (2, 2, 0), (4, 2, 0), (6, 1, 1)]
    np.testing.assert_array_equal(np.concatenate([p.outputs["spikes"] for p in parts], 1), whole.outputs["spikes"])
    np.testing.assert_array_equal(parts[-1].outputs["rate"], whole.outputs["rate"])


def test_only_wanted_outputs_are_answered(routes):
    graph = routes.spiking_graph()

    async def story(**wanted):
        return await plane_of(routes.reference(graph)).infer(request(inputs={"x": np.ones((1, 4))}, **wanted))

    assert set(run(story(outputs=("rate",))).outputs) == {"rate"}
    with pytest.raises(UserError, match=r"no output \['x'\]; its outputs are \['rate', 'spikes'\]"):
        run(story(outputs=("x",)))


def test_versions_are_found_by_name_and_the_newest_is_the_default():
    async def story():
        plane = DataPlane()
        for version in ("1", "2"):
            plane.add("m", EchoRoute(), version)
        asked = [{}, {"version": "1"}, {"model": "m@1"}]
        return plane, [(await plane.infer(request(**each))).version for each in asked]

    plane, answered = run(story())
    assert answered == ["2", "1", "1"]
    with pytest.raises(UnknownName, match="no version of model 'm' named '3'; known: 1, 2"):
        plane.model("m", "3")
    with pytest.raises(UserError, match="is served already"):
        plane.add("m", EchoRoute(), "2")
    plane.remove("m", "2")
    assert plane.versions("m") == ("1",)


@pytest.mark.parametrize(
    ("added", "newest"),
    [(("2", "10", "9"), "10"), (("10", "2"), "10"), (("10", "beta", "alpha"), "alpha"), (("1",), "1")],
)
def test_the_highest_version_is_meant_whatever_was_added_last(added, newest):
    async def story():
        plane = DataPlane()
        for version in added:
            plane.add("m", EchoRoute(), version)
        return plane.model("m").version

    assert run(story()) == newest


def test_the_queue_has_an_end_and_calls_wait_in_order(gated):
    async def story():
        plane = plane_of(gated, in_flight=1, queued=2, retry_after_s=7)
        waiting = [asyncio.ensure_future(plane.infer(request(id=name))) for name in "abc"]
        await gated.someone.wait()
        model = plane.model("m")
        assert (model.gate.running, model.gate.queued) == (1, 2)
        with pytest.raises(Overloaded, match=r"limits in_flight=1, queued=2\); retry later") as refused:
            await plane.infer(request(id="d"))
        gated.go.set()
        await asyncio.gather(*waiting)
        assert refused.value.retry_after_s == 7
        assert gated.arrived == ["a", "b", "c"]
        assert (model.gate.running, model.gate.queued) == (0, 0)

    run(story())


@pytest.mark.parametrize(("in_flight", "when"), [(2, "while it was computed"), (1, "while it waited in the queue")])
def test_a_deadline_ends_a_call_wherever_it_is(gated, in_flight, when):
    async def story():
        plane = plane_of(gated, in_flight=in_flight)
        first = asyncio.ensure_future(plane.infer(request(id="first")))
        await gated.someone.wait()
        with pytest.raises(DeadlineExceeded, match=f"request late .* {when}; allow it more time"):
            await plane.infer(request(id="late", timeout_s=0.01))
        gated.go.set()
        await first
        assert gated.cancelled == (["late"] if in_flight == 2 else [])
        assert plane.model("m").statistics.outcomes["late"] == 1

    run(story())


def test_a_timeout_of_nothing_is_refused():
    with pytest.raises(UserError, match="must be above 0"):
        run(plane_of(EchoRoute()).infer(request(timeout_s=0.0)))


def test_a_route_that_ends_without_a_last_part_is_a_bug():
    class Endless(EchoRoute):
        async def whole(self, call):
            return [Part({"y": call.inputs["x"]})]

    async def streamed(plane):
        return [answer async for answer in plane.stream(request())]

    for told in (lambda plane: plane.infer(request()), streamed):
        with pytest.raises(Bug, match=r"did not end request .* with a last part"):
            run(told(plane_of(Endless())))


def test_closing_a_stream_cancels_its_call(routes):
    graph = routes.spiking_graph()

    async def story():
        plane = plane_of(routes.reference(graph))
        stream = plane.stream(request(inputs={"x": np.ones((1, 4))}))
        await anext(stream)
        await stream.aclose()
        return plane

    plane = run(story())
    assert plane.model("m").gate.accepted == 0
    assert plane.model("m").statistics.outcomes["cancelled"] == 1


def test_draining_answers_what_was_accepted_and_refuses_the_rest(gated):
    async def story():
        plane = plane_of(gated, in_flight=1)
        accepted = [asyncio.ensure_future(plane.infer(request())) for _ in range(5)]
        await gated.someone.wait()
        draining = asyncio.ensure_future(plane.drain())
        await asyncio.sleep(0)
        assert not plane.ready
        with pytest.raises(TemporaryError, match=r"shutting down .* call another one"):
            await plane.infer(request())
        assert not draining.done()
        gated.go.set()
        await draining
        assert all(each.done() and not each.exception() for each in accepted)

    run(story())


def chunked(x: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    return np.split(x, np.cumsum(sizes)[:-1], axis=1)


def test_a_session_goes_on_and_sessions_do_not_meet(routes):
    rng, graph = np.random.default_rng(3), routes.spiking_graph(encoded=False)
    streams = {name: rng.random((1, 9, 4), np.float32) * 2 for name in ("1", "two")}

    async def story():
        plane = plane_of(routes.reference(graph))
        calls = []
        for i in range(3):
            for name, x in streams.items():
                part = chunked(x, [3, 2, 4])[i]
                calls.append((name, request(inputs={"x": part}, session=name, start=i == 0, end=i == 2)))
        answers = await asyncio.gather(*(plane.infer(each) for _, each in calls))
        assert len(plane.model("m").sessions) == 0
        return [(name, answer) for (name, _), answer in zip(calls, answers, strict=True)]

    answers = run(story())
    for name, x in streams.items():
        whole = reference.run(graph, {"x": x.swapaxes(0, 1)})
        got = [answer for each, answer in answers if each == name]
        spikes = np.concatenate([each.outputs["spikes"] for each in got], 1)
        np.testing.assert_array_equal(spikes, whole["spikes"].swapaxes(0, 1))
        np.testing.assert_array_equal(got[-1].outputs["rate"], whole["rate"])


def test_a_session_must_be_started_and_ends(routes):
    graph = routes.spiking_graph(encoded=False)

    async def story():
        plane = plane_of(routes.reference(graph))

        async def call(batch=1, **session):
            await plane.infer(request(inputs={"x": np.ones((batch, 2, 4))}, session="s", **session))

        with pytest.raises(
            UserError, match=r"session 's' of model 'm' is not open .* begin it with sequence_start=true"
        ):
            await call()
        await call(start=True)
        with pytest.raises(UserError, match="has a batch of 1, this call has 2; keep it equal"):
            await call(batch=2)
        await call(end=True)
        with pytest.raises(UserError, match="is not open"):
            await call()
        with pytest.raises(UserError, match="need a sequence_id"):
            await plane.infer(request(inputs={"x": np.ones((1, 2, 4))}, start=True))

    run(story())


def test_a_session_whose_call_failed_must_be_started_again(gated):
    async def story():
        plane = plane_of(gated)
        gated.go.set()
        await plane.infer(request(session="s", start=True))
        gated.error = TemporaryError("a worker was lost")
        with pytest.raises(TemporaryError, match="a worker was lost"):
            await plane.infer(request(session="s"))
        gated.error = None
        with pytest.raises(UserError, match="begin it with sequence_start=true"):
            await plane.infer(request(session="s"))
        await plane.infer(request(session="s", start=True))
        await plane.infer(request(session="s"))

    run(story())


def test_a_call_behind_a_failed_one_of_its_session_is_refused(gated):
    async def story():
        plane = plane_of(gated)
        gated.error = PermanentError("gone")
        calls = [plane.infer(request(session="s", start=True)), plane.infer(request(session="s"))]
        waiting = asyncio.gather(*calls, return_exceptions=True)
        await gated.someone.wait()
        gated.go.set()
        first, second = await waiting
        assert isinstance(first, PermanentError)
        assert isinstance(second, UserError)
        assert "lost its state" in str(second)

    run(story())


def test_sessions_have_a_limit_and_idle_ones_make_room():
    class Held:
        now = 0.0

        def now_s(self):
            return self.now

    async def story():
        clock = Held()
        plane = DataPlane(Limits(sessions=2, session_idle_s=10), clock)
        plane.add("m", EchoRoute())
        for name in ("a", "b"):
            await plane.infer(request(session=name, start=True))
        with pytest.raises(Overloaded, match="2 open sessions, the limit sessions=2; end some with sequence_end"):
            await plane.infer(request(session="c", start=True))
        clock.now = 11
        await plane.infer(request(session="c", start=True))
        with pytest.raises(UserError, match="is not open"):
            await plane.infer(request(session="a"))

    run(story())


def test_counters_tell_how_calls_ended(gated):
    async def story():
        plane = plane_of(gated)
        gated.go.set()
        await plane.infer(request())
        for error in (TemporaryError("t"), PermanentError("p"), RuntimeError("b")):
            gated.error = error
            with pytest.raises(type(error)):
                await plane.infer(request())
        with pytest.raises(UserError):
            await plane.infer(request(inputs={}))
        return plane.model("m").statistics

    counted = run(story())
    assert {name for name, count in counted.outcomes.items() if count} == {
        "ok",
        "temporary",
        "permanent",
        "bug",
        "refused",
    }
    assert (counted.success.count, counted.failure.count, sum(counted.latency_buckets)) == (1, 4, 1)


def test_a_limit_must_be_positive():
    with pytest.raises(UserError, match="limit batch is 0; it must be positive"):
        Limits(batch=0)
