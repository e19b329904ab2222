"""By which rules names answer, what their sides did, and how to change that, over HTTP."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from synfire.base.errors import UnknownName, UserError
from synfire.gateway import descriptions
from synfire.gateway.api import APIS, Api
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.http import Endpoint, HttpRequest, HttpResponse, json_response
from synfire.wire.traffic import Rule, Share, TrafficCount, cleared


class RuleBody(msgspec.Struct, forbid_unknown_fields=True):
    """What a name is to answer by: the percentage of each side, together 100; and how many percent of its calls the shadow gets copies
    of; and in which `operators` alone all of these models differ, if that is to be so. What is left out of a rule that is there stays as it is; a shadow
    of `{}` is none."""

    sides: dict[str, float] | None = None
    shadow: dict[str, float] | None = None
    operators: tuple[str, ...] | None = None


class TrafficApi:
    """`/api/traffic`: the rules and counts of this gateway; a change is one at every gateway. `/api/deployment/traffic`: those of all gateways
    together, as they have told them lately."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    def endpoints(self) -> Iterable[Endpoint]:
        path, every, fails = "/api/traffic/{name}", "/api/deployment/traffic", (400, 404, 501, 503)
        yield Endpoint("GET", "/api/traffic", self.all, "Names that answer by rules", None, list[TrafficCount])
        yield Endpoint("GET", path, self.one, "A name's rule, and what its sides did", None, TrafficCount, (404,))
        yield Endpoint("POST", path, self.steer, "Have a name answer by a rule", RuleBody, TrafficCount, fails)
        yield Endpoint("GET", every, self.together, "The same, of all gateways together", None, list[TrafficCount])
        yield Endpoint("DELETE", path, self.clear, "Have a name answer by no rule", None, None, fails)

    async def all(self, request: HttpRequest) -> HttpResponse:
        return json_response(list(self._plane.traffic.told))

    async def together(self, request: HttpRequest) -> HttpResponse:
        recoveries = self._plane.recoveries
        counted = {each.rule.name: each.sides for each in (recoveries.traffic if recoveries is not None else ())}
        rules = self._plane.traffic.rules.values()
        return json_response([TrafficCount(rule, counted.get(rule.name, [])) for rule in rules])

    async def one(self, request: HttpRequest) -> HttpResponse:
        return json_response(self._plane.traffic.count(self._rule(request)))

    async def steer(self, request: HttpRequest) -> HttpResponse:
        name, body = request.path["name"], request.json(RuleBody)
        wanted = _changed(name, self._plane.traffic.rules.get(name), body)
        wanted.check()
        await descriptions.repository(self._plane, "steer", name).steer(wanted)
        return json_response(self._plane.traffic.count(self._rule(request)))

    async def clear(self, request: HttpRequest) -> HttpResponse:
        name = self._rule(request).name
        await descriptions.repository(self._plane, "steer", name).steer(cleared(name))
        return HttpResponse()

    def _rule(self, request: HttpRequest) -> Rule:
        name, rules = request.path["name"], self._plane.traffic.rules
        if name not in rules:
            raise UnknownName.among("name that answers by a rule", name, rules)
        return rules[name]


def _changed(name: str, known: Rule | None, body: RuleBody) -> Rule:
    sides = _shares(body.sides) if body.sides is not None else known.sides if known is not None else ()
    if not sides:
        raise UserError(f'name {name!r} has no sides; say which models answer its calls: {{"sides": {{"MODEL": 100}}}}')
    before = known or cleared(name)
    operators = before.operators if body.operators is None else body.operators
    if body.shadow is None:
        return Rule(name, sides, before.shadow, operators)
    if len(body.shadow) > 1:
        raise UserError(f"name {name!r} has one shadow at most, and {len(body.shadow)} are given; leave the others out")
    return Rule(name, sides, next(iter(_shares(body.shadow)), None), operators)


def _shares(given: Mapping[str, float]) -> tuple[Share, ...]:
    return tuple(Share(model, percent) for model, percent in given.items())


APIS.add("traffic", Api(endpoints=lambda plane: TrafficApi(plane).endpoints()))
