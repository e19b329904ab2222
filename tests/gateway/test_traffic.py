"""Names that several models answer: who answers which call, sessions, shadows, and what is counted."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synfire.base.errors import TemporaryError, UnknownName, UserError
from synfire.gateway.comparison import Comparison
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.echo import EchoRoute
from synfire.gateway.limits import Limits
from synfire.gateway.request import Answer, Request
from synfire.gateway.shadows import MOST
from synfire.gateway.statistics import BUCKETS_S, quantile_s
from synfire.gateway.traffic import choose, picked
from synfire.ops.language_model import Piece, as_array
from synfire.wire.traffic import Rule, Share, cleared, rule_of

X = {"x": np.linspace(0, 1, 3 * 32 * 32, dtype=np.float32).reshape(1, 3, 32, 32)}
KEYS = [f"call-{n}" for n in range(4000)]


def plane_of(rule: Rule, **routes) -> DataPlane:
    plane = DataPlane()
    for name, route in routes.items():
        model, _, version = name.partition("_")
        plane.add(model, route, version or "1")
    plane.traffic.follow([rule])
    return plane


def shares_of(rule: Rule) -> dict[str, float]:
    counted = Counter(choose(rule, key) for key in KEYS)
    return {model: count / len(KEYS) for model, count in counted.items()}


def test_sides_get_their_shares_of_the_keys():
    found = shares_of(rule_of("n", ["a=70", "b=25", "c=5", "d=0"]))
    assert found.keys() == {"a", "b", "c"}
    assert [found[each] for each in "abc"] == pytest.approx([0.70, 0.25, 0.05], abs=0.025)


def test_as_few_keys_change_sides_as_have_to_when_shares_change():
    before, after = rule_of("n", ["a=90", "b=10"]), rule_of("n", ["a=80", "b=20"])
    moved = [(choose(before, key), choose(after, key)) for key in KEYS if choose(before, key) != choose(after, key)]
    assert set(moved) == {("a", "b")}
    assert len(moved) / len(KEYS) == pytest.approx(0.1, abs=0.02)


@given(st.text(), st.lists(st.floats(0.1, 100), min_size=1, max_size=5))
def test_a_key_always_finds_the_same_side_whatever_it_is(key: str, weights: Sequence[float]):
    total = sum(weights)
    rule = Rule("n", tuple(Share(f"m{n}", 100 * each / total) for n, each in enumerate(weights)))
    assert choose(rule, key) == choose(rule, key)


def test_a_shadow_gets_copies_of_the_share_that_it_has():
    rule = rule_of("n", ["a"], "b=20")
    assert sum(picked(rule, key) for key in KEYS) / len(KEYS) == pytest.approx(0.2, abs=0.025)
    assert all(picked(rule_of("n", ["a"], "b"), key) for key in KEYS)
    assert not any(picked(rule_of("n", ["a"]), key) for key in KEYS)


@pytest.mark.parametrize(
    ("sides", "shadow", "said"),
    [
        (["a=90", "b=20"], None, "the sides of n get 110 % of its calls together .a=90 b=20.; make that 100"),
        (["a=90"], None, "get 90 % of its calls together"),
        (["a=-10", "b=110"], None, "a=-10 is no share; it is a percentage from 0 to 100"),
        (["a=nan", "b=50"], None, "a=nan is no share"),
        (["a=50", "a=50"], None, "n names a twice; a model is a side, or the shadow, once"),
        (["a"], "a", "n names a twice"),
        (["a=50", "b"], None, "give each of them one, or none"),
        (["a=much"], None, "'a=much' is not MODEL=PERCENT, such as net@2=10"),
        ([], None, "get 0 % of its calls together"),
    ],
)
def test_what_is_no_rule_is_refused_with_the_cure(sides, shadow, said):
    with pytest.raises(UserError, match=said):
        rule_of("n", sides, shadow)


def test_a_name_with_a_version_is_refused():
    with pytest.raises(UserError, match="versions are sides"):
        rule_of("net@1", ["a"])


def test_models_alone_get_equal_shares():
    assert rule_of("n", ["a", "b:latest", "c", "d"]).words == "a=25 b=25 c=25 d=25"
    assert rule_of("n", ["a"]).heaviest == "a"


def test_a_name_is_answered_by_its_sides_and_each_call_is_counted_there():
    async def story():
        plane = plane_of(rule_of("prod", ["a=50", "b@2=50"]), a=EchoRoute(), b_1=EchoRoute(), b_2=EchoRoute())
        answers = [await plane.infer(Request("prod", X, id=str(n))) for n in range(40)]
        again = [await plane.infer(Request("prod", X, id=str(n))) for n in range(40)]
        callers = {(await plane.infer(Request("prod", X, id=str(n), caller="ada"))).model for n in range(20)}
        return plane, answers, again, callers

    plane, answers, again, callers = asyncio.run(story())
    sides = Counter((each.model, each.version) for each in answers)
    assert sides.keys() == {("a", "1"), ("b", "2")}
    assert min(sides.values()) > 5
    assert [each.model for each in answers] == [each.model for each in again]
    assert len(callers) == 1
    counts = plane.traffic.counts["prod"].sides
    assert sum(each.outcomes["ok"] for each in counts.values()) == 100
    assert counts["b@2"].outcomes["ok"] == plane.model("b", "2").statistics.outcomes["ok"]
    assert plane.model("b", "1").statistics.outcomes["ok"] == 0


def test_a_name_may_be_a_models_own_and_its_versions_are_still_reached():
    async def story():
        plane = plane_of(rule_of("a", ["b"]), a=EchoRoute(), b_7=EchoRoute())
        named = await plane.infer(Request("a", X))
        plain = await plane.infer(Request("a", X, version="1"))
        plane.traffic.follow([])
        return [named.model, plain.model, (await plane.infer(Request("a", X))).model]

    assert asyncio.run(story()) == ["b", "a", "a"]


def test_versions_of_a_name_are_those_of_its_sides():
    plane = plane_of(rule_of("prod", ["a@1=90", "a@2=10"]), a_1=EchoRoute(), a_2=EchoRoute(), a_3=EchoRoute())
    assert [plane.model("prod").version, plane.model("prod", "2").version] == ["1", "2"]
    with pytest.raises(UnknownName, match="no version of 'prod' among its sides named '3'; known: 1, 2"):
        plane.model("prod", "3")
    assert plane.model("prod:latest").name == "a"
    with pytest.raises(UnknownName, match="no model named 'pro'; known: a, prod"):
        plane.model("pro")


def test_open_sessions_stay_where_they_began_when_shares_change(routes):
    graph = routes.spiking_graph(encoded=False)
    steps = np.ones((1, 6, 4), np.float32)

    async def story():
        first, second = routes.reference(graph), routes.reference(graph)
        plane = plane_of(rule_of("prod", ["a"]), a=first, b=second)

        async def call(session: str, start: bool = False, end: bool = False) -> str:
            request = Request("prod", {"x": steps}, session=session, start=start, end=end)
            return (await plane.infer(request)).model

        told = [await call("old", start=True)]
        plane.traffic.follow([rule_of("prod", ["b"])])
        told += [await call("old"), await call("new", start=True), await call("new")]
        plane.traffic.follow([])
        told += [await call("old", end=True), await call("new")]
        with pytest.raises(UnknownName, match="prod"):
            await call("old")
        return told, set(first.states), set(second.states)

    told, first, second = asyncio.run(story())
    assert told == ["a", "a", "b", "b", "a", "b"]
    assert (first, second) == (set(), {"new"})


def test_a_name_without_a_rule_is_its_model_and_nothing_more(routes):
    async def story():
        plane = DataPlane()
        plane.add("a", routes.reference(routes.spiking_graph(encoded=False)))
        steps = {"x": np.ones((1, 6, 4), np.float32)}
        await plane.infer(Request("a", steps, session="s", start=True))
        return await plane.called("a", session="s"), plane.model("a")

    called, model = asyncio.run(story())
    assert called is model


def test_a_shadow_gets_copies_after_the_caller_has_its_answer_and_is_compared(routes, gated):
    async def story():
        plane = plane_of(rule_of("prod", ["a"], "b"), a=EchoRoute(), b=gated)
        for n in range(3):
            await plane.infer(Request("prod", X, id=str(n)))
        answered = plane.model("a").statistics.outcomes["ok"]
        gated.go.set()
        await plane.shadows.settled()
        return plane, answered

    plane, answered = asyncio.run(story())
    assert answered == 3
    statistics, comparison = plane.traffic.counts["prod"].shadows["b"]
    assert (statistics.outcomes["ok"], comparison.compared, comparison.equal) == (3, 3, 3)
    assert plane.traffic.counts["prod"].sides.keys() == {"a"}


def test_a_shadow_that_fails_or_is_slow_costs_callers_nothing(gated):
    gated.error = TemporaryError("no worker")

    async def story():
        plane = plane_of(rule_of("prod", ["a"], "b"), a=EchoRoute(), b=gated)
        answers = [await plane.infer(Request("prod", X)) for _ in range(MOST + 5)]
        gated.go.set()
        await plane.shadows.settled()
        return plane, answers

    plane, answers = asyncio.run(story())
    statistics, comparison = plane.traffic.counts["prod"].shadows["b"]
    assert {each.model for each in answers} == {"a"}
    assert (statistics.outcomes["temporary"], comparison.compared, comparison.left_out) == (MOST, 0, 5)


def test_a_shadow_follows_sessions_and_streams_and_none_that_it_missed_the_start_of(routes):
    graph = routes.spiking_graph(encoded=False)
    steps = np.ones((1, 6, 4), np.float32)

    async def story():
        plane = plane_of(rule_of("prod", ["a"]), a=routes.reference(graph), b=routes.reference(graph))
        await plane.infer(Request("prod", {"x": steps}, session="early", start=True))
        plane.traffic.follow([rule_of("prod", ["a"], "b")])
        await plane.infer(Request("prod", {"x": steps}, session="early"))
        for n in range(3):
            await plane.infer(Request("prod", {"x": steps}, session="late", start=n == 0, end=n == 2))
        streamed = [each async for each in plane.stream(Request("prod", {"x": steps}))]
        await plane.shadows.settled()
        return plane, streamed

    plane, streamed = asyncio.run(story())
    _, comparison = plane.traffic.counts["prod"].shadows["b"]
    assert len(streamed) > 1
    assert (comparison.compared, comparison.equal, comparison.left_out) == (4, 4, 1)
    assert len(plane.model("b").sessions) == 0


def answer(*rows: Sequence[float], name: str = "y") -> list[Answer]:
    return [Answer("m", "1", "1", {name: np.array(rows, np.float32)})]


def test_agreement_is_told_apart_from_equality():
    comparison = Comparison()
    comparison.add(answer([0.1, 0.9], [0.8, 0.2]), answer([0.2, 0.8], [0.1, 0.9]), texts=False)
    assert (comparison.equal, comparison.samples, comparison.agreed) == (0, 2, 1)
    assert comparison.difference == pytest.approx(0.7)
    comparison.add(answer([0.1, 0.9]), answer([0.1, 0.9]), texts=False)
    assert (comparison.compared, comparison.equal, comparison.samples, comparison.agreed) == (2, 1, 3, 2)
    comparison.add(answer([1.0]), answer([1.0], name="z"), texts=False)
    assert (comparison.compared, comparison.equal, comparison.samples, comparison.agreed) == (3, 1, 4, 2)


def test_texts_are_compared_however_they_were_cut():
    def said(*texts: str) -> list[Answer]:
        return [Answer("m", "1", "1", {"text": as_array(Piece(each), 1, 1)}) for each in texts]

    comparison = Comparison()
    comparison.add(said("Hello", " you"), said("Hel", "lo you"), texts=True)
    comparison.add(said("Hello"), said("Hullo"), texts=True)
    assert (comparison.compared, comparison.equal, comparison.agreed) == (2, 1, 1)


def test_quantiles_are_interpolated_within_their_bucket():
    buckets = [0] * (len(BUCKETS_S) + 1)
    assert quantile_s(buckets, 0.5) is None
    buckets[3] = 10  # between 2.5 and 5 ms
    assert quantile_s(buckets, 0.5) == pytest.approx(0.00375)
    buckets[-1] = 30
    assert quantile_s(buckets, 0.95) == BUCKETS_S[-1]


class Steered:
    """Does at once what a controller would have every gateway do."""

    def __init__(self, plane: DataPlane) -> None:
        self.plane = plane

    async def steer(self, rule: Rule) -> None:
        rules = {**self.plane.traffic.rules, rule.name: rule}
        self.plane.traffic.follow(each for each in rules.values() if each.sides)

    async def load(self, model: str) -> None: ...
    async def unload(self, model: str) -> None: ...


def test_rules_are_set_changed_and_cleared_over_http(serving, routes):
    with (
        serving({"a": EchoRoute(), "b": EchoRoute()}, Limits()) as here,
        httpx.Client(base_url=here.addresses.url) as http,
    ):
        assert http.post("/api/traffic/prod", json={"sides": {"a": 100}}).status_code == 501
        here.plane.repository = Steered(here.plane)
        assert http.post("/api/traffic/prod", json={}).json()["error"].startswith("name 'prod' has no sides")
        assert http.post("/api/traffic/prod", json={"sides": {"a": 90}}).status_code == 400
        set_ = http.post("/api/traffic/prod", json={"sides": {"a": 100}, "shadow": {"b": 50}}).json()
        assert set_["rule"]["shadow"] == {"model": "b", "percent": 50.0}
        kept = http.post("/api/traffic/prod", json={"sides": {"b": 0, "a": 100}, "shadow": {}}).json()["rule"]
        assert (kept["shadow"], [each["model"] for each in kept["sides"]]) == (None, ["b", "a"])
        at = http.post("/api/traffic/prod", json={"operators": ["fc2"]}).json()["rule"]
        assert (at["operators"], at["sides"]) == (["fc2"], kept["sides"])
        kept = http.post("/api/traffic/prod", json={"sides": {"a": 100}}).json()["rule"]
        assert kept["operators"] == ["fc2"]
        assert http.post("/api/traffic/prod", json={"operators": []}).json()["rule"]["operators"] == []
        x = {"name": "x", "shape": [1, 3, 32, 32], "datatype": "FP32", "data": X["x"].ravel().tolist()}
        told = http.post("/v2/models/prod/infer", json={"inputs": [x]}, headers={"Synfire-Caller": "ada"}).json()
        assert (told["model_name"], told["model_version"]) == ("a", "1")
        (counted,) = http.get("/api/traffic").json()[0]["sides"]
        assert (counted["model"], counted["calls"]["ok"]) == ("a", 1)
        assert "prod" in http.get("/v2/models").json()["models"]
        index = http.post("/v2/repository/index", json={}).json()
        assert [(each["name"], each["state"]) for each in index][-1] == ("prod", "READY")
        assert http.get("/v2/models/prod/ready").status_code == 200
        line = 'synfire_traffic_calls_total{model="a",name="prod",outcome="ok",part="side"} 1.0'
        assert line in http.get("/metrics").text
        assert http.delete("/api/traffic/prod").status_code == 200
        assert http.get("/api/traffic/prod").status_code == 404
        assert http.post("/v2/models/prod/infer", json={"inputs": [x]}).status_code == 404


def test_a_name_is_ready_when_all_of_its_sides_that_get_calls_are(serving):
    class Leaving(EchoRoute):
        ready = False

    with (
        serving({"a": EchoRoute(), "b": Leaving()}) as here,
        httpx.Client(base_url=here.addresses.url) as http,
    ):

        def status(*sides: str) -> int:
            here.call(lambda: here.plane.traffic.follow([rule_of("prod", sides)]))
            return http.get("/v2/models/prod/ready").status_code

        assert (status("a=90", "b=10"), status("a=100", "b=0"), status("a")) == (503, 200, 200)
        assert http.get("/v2/models/prod/ready").json()["name"] == "prod"


def test_no_sides_stand_for_no_rule():
    assert cleared("prod").sides == ()
