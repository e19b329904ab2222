"""Which model answers a call of a name that answers by a rule, and what each of its sides did."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from synfire.gateway.comparison import Comparison
from synfire.gateway.side import Side
from synfire.gateway.statistics import Statistics
from synfire.wire.traffic import WHOLE, Rule, SideCount, TrafficCount


@dataclass
class Counts:
    """What the sides of a name did since the gateway knows it, and how far the shadow agreed with them."""

    sides: dict[str, Statistics] = field(default_factory=dict)
    shadows: dict[str, tuple[Statistics, Comparison]] = field(default_factory=dict)


class Traffic:
    """The rules by which names answer at one gateway. Made and used in one event loop."""

    def __init__(self) -> None:
        self.rules: Mapping[str, Rule] = {}
        self.counts: dict[str, Counts] = {}
        self._former: dict[str, tuple[str, ...]] = {}

    def follow(self, rules: Iterable[Rule]) -> None:
        """Answer by these rules, and no other, from now on. Calls that are under way go on; what was counted of a name stays."""
        found = {each.name: each for each in rules}
        for name, rule in self.rules.items():
            left = [each.model for each in rule.sides]
            self._former[name] = tuple(dict.fromkeys((*self._former.get(name, ()), *left)))
        self.counts = {name: self.counts.get(name) or Counts() for name in found}
        self.rules = found

    def knows(self, name: str) -> bool:
        """Whether a name has a rule, or had one."""
        return name in self.rules or name in self._former

    def homes(self, name: str) -> tuple[str, ...]:
        """The models that may hold open sessions of a name: what it means now, what it meant, and the model that it is itself. None for
        a name that never had a rule: it is no other model's."""
        if not self.knows(name):
            return ()
        rule = self.rules.get(name)
        now = [each.model for each in rule.sides] if rule is not None else []
        return tuple(dict.fromkeys((*now, *self._former.get(name, ()), name)))

    def side(self, rule: Rule, model: str) -> Side:
        """The side of a rule that a model is."""
        return Side(rule, model, self._counts(rule).sides.setdefault(model, Statistics()))

    def shadow(self, rule: Rule, model: str) -> tuple[Side, Comparison]:
        """The shadow of a rule, with how far it agreed so far."""
        statistics, comparison = self._counts(rule).shadows.setdefault(model, (Statistics(), Comparison()))
        return Side(rule, model, statistics, True), comparison

    @property
    def told(self) -> tuple[TrafficCount, ...]:
        """What was counted of every name."""
        return tuple(map(self.count, self.rules.values()))

    def count(self, rule: Rule) -> TrafficCount:
        """What was counted of the name of a rule."""
        counts = self._counts(rule)
        sides = [_side_count(model, each) for model, each in counts.sides.items()]
        return TrafficCount(rule, [*sides, *(_shadow_count(model, *each) for model, each in counts.shadows.items())])

    def _counts(self, rule: Rule) -> Counts:
        """A call of a rule that is no longer may still be under way: what it does is then told nobody."""
        return self.counts.get(rule.name) or Counts()


def _side_count(model: str, counted: Statistics) -> SideCount:
    return SideCount(
        model,
        dict(counted.outcomes),
        counted.samples,
        counted.success.total_s,
        tuple(counted.latency_buckets),
    )


def _shadow_count(model: str, counted: Statistics, comparison: Comparison) -> SideCount:
    return msgspec.structs.replace(
        _side_count(model, counted),
        shadow=True,
        compared=comparison.compared,
        equal=comparison.equal,
        compared_samples=comparison.samples,
        agreed=comparison.agreed,
        difference=comparison.difference,
        left_out=comparison.left_out,
    )


def choose(rule: Rule, key: str) -> str:
    """The side that answers calls with this key: the same one each time, and at every gateway.

    Each side draws a number from the key, and the best for its share wins (weighted rendezvous hashing). So when shares change, only
    as many keys change sides as have to.
    """
    if len(rule.sides) == 1:
        return rule.sides[0].model
    return max(rule.sides, key=lambda each: _score(rule.name, each.model, each.percent, key)).model


def picked(rule: Rule, key: str) -> bool:
    """Whether the call with this key is one of those that the shadow gets copies of."""
    return rule.shadow is not None and _number(rule.name, "shadow", key) * WHOLE < rule.shadow.percent


def _score(name: str, model: str, percent: float, key: str) -> float:
    return -percent / math.log(_number(name, model, key))


def _number(*parts: str) -> float:
    """A number between 0 and 1, neither of them, that follows from the parts, and looks like chance."""
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=6).digest()
    return (int.from_bytes(digest, "big") + 0.5) / 2**48
