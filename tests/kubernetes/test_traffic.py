"""Canaries, A/B tests and shadows by `kubectl` alone: what a model's object says of its calls becomes a rule, and its status compares."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from world import World, applied, resource, told  # beside this file, which is imported by its path

from synfire.base.errors import UserError
from synfire.gateway.statistics import BUCKETS_S
from synfire.kubernetes.controller.deployment import Call, ClearTraffic, Steer, Unload
from synfire.kubernetes.controller.observed import Document
from synfire.wire.traffic import Rule, Share, SideCount, TrafficCount

POOL = resource("SynfirePool", "hosts", count=2)
NEW = resource("SynfireModel", "new", source="svgg-digits")


def old(**traffic: Any) -> Document:
    """A model with such traffic."""
    return resource("SynfireModel", "old", source="svgg-digits", **({"traffic": traffic} if traffic else {}))


def share(model: str, percent: float) -> dict[str, Any]:
    return {"model": model, "percent": percent}


CANARY = old(sides=[share("new", 10)])


def asked(here: World) -> list[Call]:
    """What was asked for that concerns rules, or ends a model."""
    return [each for each in here.deployment.calls if isinstance(each, (Steer, ClearTraffic, Unload))]


def traffic_of(here: World) -> tuple[str, str, str]:
    """The condition that tells of the rule."""
    found = here.condition("synfiremodels", "old", "Traffic")
    return found["status"], found["reason"], found.get("message", "")


def test_a_canary_gets_its_share_and_is_compared() -> None:
    async def story(here: World) -> None:
        await applied(here, POOL, NEW, CANARY)
        assert asked(here) == [Steer("old", {"sides": {"old": 90.0, "new": 10.0}, "shadow": {}})]
        assert traffic_of(here) == ("True", "Shared", "old=90 new=10")
        buckets = tuple(9 * (number == 5) for number in range(len(BUCKETS_S) + 1))
        rule = here.deployment.traffic["old"].rule
        did = [SideCount("old", {"ok": 9}, 9, 0.09, buckets), SideCount("new", {"ok": 0, "server error": 2})]
        here.deployment.traffic["old"] = TrafficCount(rule, did)
        await here.settle()
        (first, second) = here.server.get("synfiremodels", "old")["status"]["traffic"]
        assert (first["model"], first["percent"], first["calls"], first["errors"]) == ("old", 90.0, 9, 0)
        assert first["meanMilliseconds"] == 10
        assert 0 < first["p95Milliseconds"] <= BUCKETS_S[5] * 1e3
        assert (second["model"], second["calls"], second["errors"], second["meanMilliseconds"]) == ("new", 2, 2, 0)

    told(story)


def test_a_shadow_gets_copies_and_tells_how_far_it_agrees() -> None:
    async def story(here: World) -> None:
        await applied(here, POOL, NEW, old(shadow={"model": "new"}))
        assert asked(here) == [Steer("old", {"sides": {"old": 100.0}, "shadow": {"new": 100.0}})]
        assert traffic_of(here) == ("True", "Shared", "old=100, copies to new=100")
        rule = here.deployment.traffic["old"].rule
        copied = SideCount("new", {"ok": 4}, 4, shadow=True, compared=4, equal=3, compared_samples=4, agreed=4)
        here.deployment.traffic["old"] = TrafficCount(rule, [copied])
        await here.settle()
        shadow = here.server.get("synfiremodels", "old")["status"]["traffic"][1]
        assert (shadow["shadow"], shadow["compared"], shadow["same"], shadow["agreed"]) == (True, 4, 3, 4)

    told(story)


def test_a_side_that_is_not_there_has_no_share_until_it_is() -> None:
    async def story(here: World) -> None:
        await applied(here, POOL, CANARY)
        assert traffic_of(here)[:2] == ("False", "NoModel")
        assert "served as new; make one" in traffic_of(here)[2]
        assert asked(here) == []
        await applied(here, NEW)
        assert traffic_of(here)[1] == "Shared"

    told(story)


def test_a_side_that_cannot_answer_yet_has_no_share_and_one_that_cannot_any_more_keeps_it() -> None:
    async def story(here: World) -> None:
        await applied(here, POOL, NEW)
        served = here.deployment.models["new"]
        here.deployment.models["new"] = replace(served, state="loading")
        await applied(here, CANARY)
        assert (traffic_of(here)[:2], asked(here)) == (("False", "Waiting"), [])
        here.deployment.models["new"] = served
        await here.settle()
        assert traffic_of(here)[1] == "Shared"
        here.deployment.models["new"] = replace(served, state="stopped")
        await here.settle()
        assert (traffic_of(here)[1], len(asked(here))) == ("Shared", 1)

    told(story)


def test_a_side_that_goes_gets_no_calls_any_more_before_it_is_unloaded() -> None:
    async def story(here: World) -> None:
        await applied(here, POOL, NEW, CANARY)
        here.server.delete("synfiremodels", "new")
        await here.settle()
        assert asked(here)[1:] == [ClearTraffic("old"), Unload("new")]
        assert here.server.get("synfiremodels", "old")["status"].get("traffic") is None

    told(story)


def test_the_rule_of_a_model_that_goes_ends_first() -> None:
    async def story(here: World) -> None:
        await applied(here, POOL, NEW, CANARY)
        here.server.delete("synfiremodels", "old")
        await here.settle()
        assert asked(here)[1:] == [ClearTraffic("old"), Unload("old")]
        assert [each["metadata"]["name"] for each in here.server.all("synfiremodels")] == ["new"]

    told(story)


def test_without_traffic_the_rule_goes_and_a_rule_that_somebody_else_made_stays() -> None:
    async def story(here: World) -> None:
        await applied(here, POOL, NEW, CANARY)
        await applied(here, old())
        assert asked(here)[1:] == [ClearTraffic("old")]
        by_hand = TrafficCount(Rule("old", (Share("new"),)))
        here.deployment.traffic["old"] = by_hand
        await here.settle()
        assert here.deployment.traffic == {"old": by_hand}

    told(story)


@pytest.mark.parametrize(
    ("traffic", "words"),
    [
        ({"sides": [share("new", 70), share("more", 50)]}, "120 percent"),
        ({"sides": [share("new", 10)], "shadow": {"model": "new"}}, "names new twice"),
        ({"sides": []}, "neither sides nor a shadow"),
    ],
)
def test_what_makes_no_sense_is_told_and_the_rule_stays_as_it_was(traffic: dict[str, Any], words: str) -> None:
    async def story(here: World) -> None:
        await applied(here, POOL, NEW, CANARY)
        before = dict(here.deployment.traffic)
        await applied(here, old(**traffic))
        status, reason, message = traffic_of(here)
        assert (status, reason, words in message) == ("False", "InvalidTraffic", True), message
        assert here.deployment.traffic == before

    told(story)


def test_models_that_do_not_fit_are_told_in_the_words_of_the_deployment() -> None:
    async def story(here: World) -> None:
        def refuse(call: Call) -> None:
            if isinstance(call, Steer):
                raise UserError("old: new takes x: (9)")

        here.deployment.refuse = refuse
        await applied(here, POOL, NEW, CANARY)
        assert traffic_of(here) == ("False", "Refused", "old: new takes x: (9)")
        ready = here.server.get("synfiremodels", "old")["status"]["conditions"][1]
        assert (ready["type"], ready["status"]) == ("Ready", "True")

    told(story)


def test_a_canary_of_one_operator_is_asked_for_as_such_and_no_longer_when_that_is_not_said() -> None:
    async def story(here: World) -> None:
        variant = resource("SynfireModel", "new", source="svgg-digits", variantOf="old")
        await applied(here, POOL, variant, old(sides=[share("new", 10)], operators=["fc2"]))
        assert here.deployment.models["new"].request["variant_of"] == "old"
        sides = {"old": 90.0, "new": 10.0}
        assert asked(here) == [Steer("old", {"sides": sides, "shadow": {}, "operators": ["fc2"]})]
        assert traffic_of(here) == ("True", "Shared", "old=90 new=10 at fc2")
        await applied(here, CANARY)
        assert asked(here)[1:] == [Steer("old", {"sides": sides, "shadow": {}, "operators": []})]
        assert traffic_of(here) == ("True", "Shared", "old=90 new=10")
        await here.settle()
        assert len(asked(here)) == 2

    told(story)


def test_a_variant_that_says_how_it_is_cut_is_told_to_leave_that_out() -> None:
    async def story(here: World) -> None:
        await applied(
            here, POOL, resource("SynfireModel", "new", source="svgg-digits", variantOf="old", granularity="operator")
        )
        found = here.condition("synfiremodels", "new", "Accepted")
        assert (found["status"], found["reason"]) == ("False", "InvalidSpec")
        assert "so it is cut and placed as that is, once: leave out granularity" in found["message"]

    told(story)
