"""Canaries, A/B tests and shadows: which other models answer a share of a model's calls, or get copies of them, and how they compare.

What a model's object says becomes a rule of the deployment (docs/traffic.md). A model that is not there yet, or goes, has no share
meanwhile: its calls stay where they were.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from synfire.base.errors import UserError
from synfire.gateway.statistics import quantile_s
from synfire.kubernetes.controller.conditions import condition, joined
from synfire.kubernetes.controller.decision import Action, Ask
from synfire.kubernetes.controller.deployment import ClearTraffic, Steer
from synfire.kubernetes.controller.models import served_name
from synfire.kubernetes.controller.objects import digest_of
from synfire.kubernetes.controller.observed import Document, Key, Observed
from synfire.kubernetes.controller.reading import Asked
from synfire.kubernetes.resources import Condition, ModelSpec, ModelStatus, TrafficSide
from synfire.wire.traffic import WHOLE, Rule, Share, SideCount, TrafficCount

_THERE = ("served", "degraded", "asleep")
"""States of a model that calls can be sent to."""


@dataclass(frozen=True)
class Shared:
    """By which rule a model's name is to answer now, none where it is to answer by none; what its users are told of that, and what the sides
    did."""

    rule: Rule | None
    told: Condition | None
    sides: tuple[TrafficSide, ...] = ()


def shared(found: Asked[ModelSpec], observed: Observed, living: Collection[str]) -> Shared | None:
    """How a model's calls are shared; None where nobody asks for that, or has. `living` are the names of models that are to stay."""
    before = found.document.get("status", {}).get("traffic", ())
    if found.spec is None or not (found.spec.traffic or before):
        return None
    if observed.deployed is None:
        return Shared(None, None, _read(before))
    name, wanted = served_name(found), found.spec.traffic
    counted = observed.deployed.traffic.get(name)
    sides = _sides(counted) if counted is not None else ()
    if wanted is None:
        return Shared(None, None, sides)
    others = [Share(each.model, each.percent) for each in wanted.sides]
    shadow = Share(wanted.shadow.model, wanted.shadow.percent) if wanted.shadow is not None else None
    asked = _rule(name, others, shadow, wanted.operators)
    if mistake := _mistake(asked):
        kept = counted.rule if counted is not None else None
        return Shared(kept, condition("Traffic", False, "InvalidTraffic", mistake), sides)
    missing = [each for each in asked.models if not _is_there(each, counted, observed, living)]
    rule = _rule(
        name,
        [each for each in others if each.model not in missing],
        shadow if shadow is not None and shadow.model not in missing else None,
        wanted.operators,
    )
    if name in missing or len(rule.models) < 2:
        return Shared(None, _waits(name, missing, living), sides)
    return Shared(rule, _told(found, rule, missing, counted, observed, living), sides)


def with_traffic(status: ModelStatus, sharing: Shared | None) -> ModelStatus:
    """The status of a model that also tells how its calls are shared."""
    if sharing is None:
        return status
    conditions = (*status.conditions, *((sharing.told,) if sharing.told is not None else ()))
    return msgspec.structs.replace(status, conditions=conditions, traffic=sharing.sides or None)


def calls(found: Asked[ModelSpec], observed: Observed, sharing: Shared | None) -> Iterator[Action]:
    """What the deployment has to be asked, so that the model's name answers so."""
    if sharing is None or observed.deployed is None:
        return
    name = served_name(found)
    counted = observed.deployed.traffic.get(name)
    if sharing.rule is None and counted is not None:
        yield Ask(ClearTraffic(name), _key(found))
    elif sharing.rule is not None and (counted is None or counted.rule != sharing.rule):
        body, refusal = _body(sharing.rule, counted), observed.refusals.get(_key(found))
        if refusal is None or refusal.digest != digest_of(body):
            yield Ask(Steer(name, body), _key(found))


def taking_part(living: Iterable[Asked[ModelSpec]], observed: Observed) -> set[str]:
    """The models that get calls, or copies, of others that are to stay: none of them is unloaded before these know."""
    told = observed.deployed.traffic if observed.deployed is not None else {}
    names = (name for each in living if (name := served_name(each)) in told and _is_ours(each.document))
    return {model for name in names for model in told[name].rule.models if model != name}


def goodbye(going: Asked[ModelSpec], observed: Observed) -> Iterator[Action]:
    """The rule of a model that goes ends before the model does."""
    name = served_name(going)
    if observed.deployed is not None and name in observed.deployed.traffic and _is_ours(going.document):
        yield Ask(ClearTraffic(name), _key(going))


def _mistake(asked: Rule) -> str:
    """What is wrong with a rule, whatever models there are; empty where nothing is."""
    others = asked.sides[1:]
    if not others and asked.shadow is None:
        return "it names neither sides nor a shadow; name one, or leave traffic out"
    if asked.sides[0].percent < 0:
        return f"the sides get {WHOLE - asked.sides[0].percent:g} percent of the calls together; 100 are the most"
    try:
        asked.check()
    except UserError as error:
        return str(error)
    return ""


def _rule(name: str, others: Iterable[Share], shadow: Share | None, operators: tuple[str, ...]) -> Rule:
    """What is left of the whole stays with the model itself."""
    sides = tuple(others)
    return Rule(name, (Share(name, WHOLE - sum(each.percent for each in sides)), *sides), shadow, operators)


def _is_there(model: str, counted: TrafficCount | None, observed: Observed, living: Collection[str]) -> bool:
    """Whether calls can be sent to a model. One that gets some already keeps its share while it cannot answer: who compares is to see that."""
    known = observed.deployed.models.get(model) if observed.deployed is not None else None
    if known is None or model not in living:
        return False
    return known.state in _THERE or (counted is not None and model in counted.rule.models)


def _told(
    found: Asked[ModelSpec],
    rule: Rule,
    missing: list[str],
    counted: TrafficCount | None,
    observed: Observed,
    living: Collection[str],
) -> Condition:
    refusal = observed.refusals.get(_key(found))
    if refusal is not None and refusal.digest == digest_of(_body(rule, counted)):
        return condition("Traffic", False, refusal.reason, refusal.message)
    if missing:
        return _waits(rule.name, missing, living)
    if counted is None or counted.rule != rule:
        return condition("Traffic", None, "Asked", "the deployment has been asked for it")
    copies = f", copies to {rule.shadow}" if rule.shadow is not None else ""
    return condition("Traffic", True, "Shared", f"{rule.words}{rule.place}{copies}")


def _waits(name: str, missing: list[str], living: Collection[str]) -> Condition:
    unknown = [each for each in missing if each not in living]
    words = [
        f"no SynfireModel of this namespace is served as {each}; make one, its share stays here" for each in unknown
    ]
    if unknown:
        return condition("Traffic", False, "NoModel", joined(words))
    return condition(
        "Traffic", False, "Waiting", f"{', '.join(missing)} takes no calls yet; its share stays with {name}"
    )


def _read(told: Iterable[Any]) -> tuple[TrafficSide, ...]:
    """What a status tells of sides."""
    try:
        return msgspec.convert(tuple(told), tuple[TrafficSide, ...])
    except msgspec.ValidationError:  # somebody else has written it
        return ()


def _sides(counted: TrafficCount) -> tuple[TrafficSide, ...]:
    """Those of today's rule, with what they did."""
    did = {(each.model, each.shadow): each for each in counted.sides}
    rule = counted.rule
    found = [_side(each, did.get((each.model, False)) or SideCount(each.model, {}), False) for each in rule.sides]
    if rule.shadow is not None:
        known = did.get((rule.shadow.model, True))
        found.append(_side(rule.shadow, known or SideCount(rule.shadow.model, {}), True))
    return tuple(found)


def _side(share: Share, did: SideCount, shadow: bool) -> TrafficSide:
    answered, calls = did.calls.get("ok", 0), sum(did.calls.values())
    p95_s = quantile_s(did.latency_buckets, 0.95)
    return TrafficSide(
        model=share.model,
        percent=share.percent,
        shadow=shadow,
        calls=calls,
        errors=calls - answered,
        samples=did.samples,
        mean_milliseconds=round(did.latency_s / answered * 1e3) if answered else 0,
        p95_milliseconds=round(p95_s * 1e3) if p95_s is not None else 0,
        compared=did.compared,
        same=did.equal,
        compared_samples=did.compared_samples,
        agreed=did.agreed,
        left_out=did.left_out,
    )


def _body(rule: Rule, counted: TrafficCount | None) -> dict[str, Any]:
    """The rule as the deployment takes it, which knows of the one before. One of an older image is told nothing of operators where there are none."""
    shadow = {rule.shadow.model: rule.shadow.percent} if rule.shadow is not None else {}
    body = {"sides": {each.model: each.percent for each in rule.sides}, "shadow": shadow}
    known = counted is not None and bool(counted.rule.operators)
    return {**body, "operators": list(rule.operators)} if rule.operators or known else body


def _is_ours(document: Document) -> bool:
    """Whether the rule of a model's name was made for its object, and not by somebody by hand."""
    return bool(document.get("spec", {}).get("traffic") or document.get("status", {}).get("traffic"))


def _key(found: Asked[ModelSpec]) -> Key:
    """Under which refusals of a rule are kept: another one than the model's own."""
    return Key("SynfireModel traffic", found.name)
