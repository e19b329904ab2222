"""By which rule a served name answers, where it is not simply a model's: which models share its calls, and who gets copies.

prod → svgg@2                       an alias
prod → 90 % svgg@1, 10 % svgg@2     a canary, or an A/B test
prod → svgg@1, shadow svgg@2        a copy of each call goes to svgg@2, whose answers are compared and dropped
prod → 90 % svgg@1, 10 % svgg@2, at fc2    the same of one operator: these models differ in fc2 alone
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence

import msgspec

from synfire.base.errors import UserError
from synfire.store.names import LATEST, ModelName

WHOLE = 100.0
"""What the shares of a name's sides sum to, in percent."""

_ROUNDING = 1e-6


class Share(msgspec.Struct, frozen=True):
    """A model, and how many percent of a name's calls it gets."""

    model: str
    percent: float = WHOLE

    def __str__(self) -> str:
        return f"{self.model}={self.percent:g}"


class Rule(msgspec.Struct, frozen=True):
    """Each call of `name` is answered by one of the `sides`. Copies of so many percent of the calls as it has go to the `shadow`.

    Where `operators` are named it is these that the sides share calls of: all other operators are the same in each model.
    """

    name: str
    sides: tuple[Share, ...]
    shadow: Share | None = None
    operators: tuple[str, ...] = ()

    @property
    def models(self) -> tuple[str, ...]:
        """All that it speaks of."""
        return tuple(each.model for each in self._shares)

    @property
    def heaviest(self) -> str:
        """The side with the greatest share, the first of those."""
        return max(self.sides, key=lambda each: each.percent).model

    @property
    def words(self) -> str:
        """The sides, as a user writes them."""
        return " ".join(map(str, self.sides))

    @property
    def place(self) -> str:
        """Where the sides differ, in words; empty where nothing is said of that."""
        return f" at {', '.join(self.operators)}" if self.operators else ""

    @property
    def _shares(self) -> tuple[Share, ...]:
        return self.sides if self.shadow is None else (*self.sides, self.shadow)

    def check(self) -> None:
        """Raise `UserError` where it says nothing sensible."""
        if not ModelName.suits(self.name):
            raise UserError(
                f"{self.name!r} cannot be a name; write letters, digits, '.', '_' and '-', and no version: versions are sides"
            )
        models = [each.model for each in self._shares]
        for each in models:
            if models.count(each) > 1:
                raise UserError(f"{self.name} names {each} twice; a model is a side, or the shadow, once")
        for share in self._shares:
            if not 0 <= share.percent <= WHOLE:  # which NaN does not hold either
                raise UserError(f"{self.name}: {share} is no share; it is a percentage from 0 to 100")
        for each in self.operators:
            if self.operators.count(each) > 1:
                raise UserError(f"{self.name} names operator {each} twice; name it once")
        total = math.fsum(each.percent for each in self.sides)
        if abs(total - WHOLE) > _ROUNDING:
            raise UserError(
                f"the sides of {self.name} get {total:g} % of its calls together ({self.words}); make that 100"
            )


def rule_of(name: str, sides: Sequence[str], shadow: str | None = None, operators: Sequence[str] = ()) -> Rule:
    """The rule that a user writes as `MODEL=PERCENT`, one for each side, or as models alone, which get equal shares.

    Raises `UserError` where that is no rule.
    """
    given = [_share(each) for each in sides]
    weighed = [each for each in given if each[1] is not None]
    if weighed and len(weighed) < len(given):
        raise UserError(f"{name}: {' '.join(sides)} gives some sides a share; give each of them one, or none")
    even = WHOLE / max(1, len(given))
    shares = tuple(Share(model, even if percent is None else percent) for model, percent in given)
    copied, percent = _share(shadow) if shadow else ("", None)
    copies = Share(copied, WHOLE if percent is None else percent) if copied else None
    rule = Rule(name, shares, copies, tuple(operators))
    rule.check()
    return rule


def _share(text: str) -> tuple[str, float | None]:
    model, given, number = text.rpartition("=")
    if not given:
        return text.removesuffix(f":{LATEST}"), None
    try:
        return model.removesuffix(f":{LATEST}"), float(number.removesuffix("%"))
    except ValueError as error:
        raise UserError(f"{text!r} is not MODEL=PERCENT, such as net@2=10") from error


def cleared(name: str) -> Rule:
    """What stands for no rule of a name, where one is to be taken away."""
    return Rule(name, ())


class SideCount(msgspec.Struct, frozen=True):
    """What a model did for a name, at one gateway or at several together: its calls by how they ended, the samples that were answered,
    and how long answered calls took, in all and by the buckets of the latency metric.

    A `shadow` also tells how far its answers agreed with those that callers got: see `synfire.gateway.comparison`.
    """

    model: str
    calls: dict[str, int]
    samples: int = 0
    latency_s: float = 0.0
    latency_buckets: tuple[int, ...] = ()
    shadow: bool = False
    compared: int = 0
    equal: int = 0
    compared_samples: int = 0
    agreed: int = 0
    difference: float = 0.0
    left_out: int = 0

    def plus(self, other: SideCount) -> SideCount:
        """Both together: of two gateways."""
        return SideCount(
            self.model,
            {kind: count + other.calls.get(kind, 0) for kind, count in self.calls.items()},
            self.samples + other.samples,
            self.latency_s + other.latency_s,
            tuple(map(operator.add, self.latency_buckets, other.latency_buckets)),
            self.shadow,
            self.compared + other.compared,
            self.equal + other.equal,
            self.compared_samples + other.compared_samples,
            self.agreed + other.agreed,
            max(self.difference, other.difference),
            self.left_out + other.left_out,
        )


class TrafficCount(msgspec.Struct, frozen=True):
    """A rule, and what the models that it speaks of, or spoke of, did for its name."""

    rule: Rule
    sides: list[SideCount] = []


def summed(counts: Iterable[TrafficCount]) -> dict[str, list[SideCount]]:
    """What the models of each name did at several gateways together."""
    found: dict[str, dict[tuple[str, bool], SideCount]] = {}
    for each in counts:
        sides = found.setdefault(each.rule.name, {})
        for side in each.sides:
            known = sides.get((side.model, side.shadow))
            sides[side.model, side.shadow] = known.plus(side) if known is not None else side
    return {name: list(sides.values()) for name, sides in found.items()}
