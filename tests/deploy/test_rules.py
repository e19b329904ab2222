"""What gateways count of names that answer by a rule is added up, also of those that are gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from synfire.deploy.rules import Rules
from synfire.wire.messages import Tally
from synfire.wire.traffic import SideCount, TrafficCount, rule_of

RULE = rule_of("prod", ["a=90", "b=10"])


class Gateways:
    """They take whatever rules there are, and tell `asked` when they are to follow others."""

    def __init__(self, asked: Callable[[], None] = lambda: None) -> None:
        self.asked = asked

    def begin_traffic(self, rules: object) -> None:
        self.rules = rules

    async def steer(self, rules: object) -> None:
        self.asked()
        self.rules = rules


class Books:
    async def write(self) -> None: ...


def counted(rules: Rules) -> dict[str, int]:
    """How often each side was called."""
    (prod,) = rules.counted
    assert prod.rule == RULE
    return {each.model: each.calls["ok"] for each in prod.sides}


def tally(**calls: int) -> Tally:
    """So many calls of each side."""
    return Tally((TrafficCount(RULE, [SideCount(model, {"ok": count}) for model, count in calls.items()]),))


def test_what_gateways_counted_is_added_up_and_each_counts_once() -> None:
    rules = Rules([RULE], cast(Any, None), cast(Any, Gateways()), cast(Any, None))
    assert counted(rules) == {}
    rules.hear("gateway-0-a", tally(a=2))
    rules.hear("gateway-1-b", tally(a=3, b=1))
    assert counted(rules) == {"a": 5, "b": 1}
    rules.hear("gateway-0-a", tally(a=4))
    rules.hear("gateway-0-c", tally(b=1))  # another process in the place of the first, which is gone
    assert counted(rules) == {"a": 7, "b": 2}


def test_a_name_that_has_no_rule_any_more_is_not_told() -> None:
    rules = Rules([], cast(Any, None), cast(Any, Gateways()), cast(Any, None))
    rules.hear("gateway-0-a", tally(a=2))
    assert rules.counted == ()


def test_a_rule_is_told_when_gateways_follow_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for it may count on it then."""
    monkeypatch.setattr("synfire.deploy.rules.as_served", lambda rule, versions: rule)
    monkeypatch.setattr("synfire.deploy.rules.check_rule", lambda rule, graph_of: None)
    told: list[tuple[TrafficCount, ...]] = []
    gateways = Gateways(lambda: told.append(rules.counted))
    models = SimpleNamespace(versions=None, graph_of=None)
    rules = Rules([RULE], cast(Any, models), cast(Any, gateways), cast(Any, Books()))
    other = rule_of("prod", ["a"])
    asyncio.run(rules.steer(other))
    assert [each.rule for each in told[0]] == [RULE]
    assert [each.rule for each in rules.counted] == [other]
    assert gateways.rules == (other,)
