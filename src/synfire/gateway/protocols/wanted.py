"""What is to be served, over HTTP: models are asked for by name, and what became of that is told. Asking twice is asking once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from synfire.base.errors import TemporaryError, UnknownName, UserError
from synfire.devices import DEVICES
from synfire.gateway import descriptions
from synfire.gateway.api import APIS, Api
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.http import Endpoint, HttpRequest, HttpResponse, json_response
from synfire.gateway.status import ACCEPTED, OK
from synfire.plan.planner import GRANULARITIES
from synfire.store import ModelName
from synfire.wire.condition import Condition
from synfire.wire.recovery import Substituted
from synfire.wire.wish import Wish, Wished


class WantedStage(msgspec.Struct, frozen=True):
    """A stage of a replica, and the worker that hosts it; none while it waits for one, or sleeps."""

    replica: str
    stage: str
    operators: tuple[str, ...]
    worker: str
    engine: str


class WantedModel(msgspec.Struct, frozen=True):
    """A model that was asked for. `status` is `loading`, `waiting` (for workers), `served`, `degraded`, `asleep`, `stopped`, `failed` or `leaving`,
    of several replicas that of the best; `reason` says why it is not served as it is wanted. Stages of any replica that an unlike engine runs are
    `substituted`: no worker has the device for them."""

    name: str
    wish: Wish
    status: str
    reason: str
    replicas: int
    replicas_ready: int
    stages: tuple[WantedStage, ...] = ()
    substituted: tuple[Substituted, ...] = ()


class AllTold(msgspec.Struct, frozen=True):
    """Whether all models that there are to be were asked for, so that one of any other name is none."""

    told: bool


class AllAsked(msgspec.Struct, frozen=True):
    """That all models there are to be were asked for, these `models` among them."""

    models: tuple[str, ...] = ()


class Moved(msgspec.Struct, frozen=True):
    """What a planned move has done, as `synfire drain --json` tells it."""

    order: dict[str, Any]


class Vacancies(msgspec.Struct, frozen=True):
    """The `places` that no worker fills, by kind: of models that wait for one, and of replicas of stages that nobody has taken. Empty where the
    deployment begins its own workers."""

    places: Mapping[str, int]


class WantedApi:
    """`/api/deployment/models`, and planned moves of workers. What is asked for here is done at every gateway."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    def endpoints(self) -> Iterable[Endpoint]:
        all_, one, fails = "/api/deployment/models", "/api/deployment/models/{name}", (400, 404, 501, 503)
        told, vacancies = "/api/deployment/told", "/api/deployment/vacancies"
        worker = "/api/workers/{name}"
        yield Endpoint("GET", all_, self.all, "Models that were asked for", None, list[WantedModel])
        yield Endpoint("GET", one, self.one, "A model that was asked for", None, WantedModel, (404,))
        yield Endpoint("PUT", one, self.want, "Have a model served so from now on", Wish, WantedModel, fails)
        yield Endpoint("DELETE", one, self.drop, "Have a model served no longer", None, None, fails)
        yield Endpoint("GET", told, self.told, "Whether all models were asked for", None, AllTold)
        yield Endpoint("POST", told, self.tell, "Say that all models were asked for", AllAsked, None, fails)
        yield Endpoint("GET", vacancies, self.vacancies, "Places that no worker fills", None, Vacancies)
        yield Endpoint("POST", f"{worker}/drain", self.drain, "Have everything leave a worker", None, Moved, fails)
        yield Endpoint("POST", f"{worker}/lost", self.doubt, "Say that a worker may be gone", None, None, fails)
        yield Endpoint("POST", "/api/rebalance", self.rebalance, "Spread all stages evenly", None, Moved, fails)

    async def all(self, request: HttpRequest) -> HttpResponse:
        return json_response([self._told(each) for each in self._wishes()])

    async def one(self, request: HttpRequest) -> HttpResponse:
        return json_response(self._told(self._wished(request.path["name"])))

    async def want(self, request: HttpRequest) -> HttpResponse:
        name, wish = request.path["name"], request.json(Wish)
        if not ModelName.suits(name) or ":" in name or "/" in name:
            raise UserError(f"{name!r} is no name for a served model: it takes letters, digits, '.', '_' and '-'")
        wish.check(name, GRANULARITIES, DEVICES)
        new = await descriptions.repository(self._plane, "load", name).want(name, wish)
        known = next((each for each in self._wishes() if each.name == name), Wished(name, wish))
        told = known if known.wish == wish else Wished(name, wish)
        return json_response(self._told(told), ACCEPTED if new else OK)

    async def drop(self, request: HttpRequest) -> HttpResponse:
        name = request.path["name"]
        await descriptions.repository(self._plane, "unload", name).want(name, None)
        return HttpResponse()

    async def told(self, request: HttpRequest) -> HttpResponse:
        recoveries = self._plane.recoveries
        return json_response(AllTold(recoveries is None or not recoveries.awaited))

    async def tell(self, request: HttpRequest) -> HttpResponse:
        wished = {each.name for each in self._wishes()}
        if missing := sorted({*request.json(AllAsked).models} - wished):
            raise TemporaryError(
                f"this deployment was not asked for {', '.join(missing)} since it began; ask for all models, and say so then"
            )
        await descriptions.repository(self._plane, "told", "").move("told")
        return HttpResponse()

    async def vacancies(self, request: HttpRequest) -> HttpResponse:
        recoveries = self._plane.recoveries
        return json_response(Vacancies(recoveries.vacancies if recoveries is not None else {}))

    async def drain(self, request: HttpRequest) -> HttpResponse:
        return await self._move("drain", request.path["name"])

    async def doubt(self, request: HttpRequest) -> HttpResponse:
        name = request.path["name"]
        await descriptions.repository(self._plane, "doubt", name).move("doubt", name)
        return HttpResponse()

    async def rebalance(self, request: HttpRequest) -> HttpResponse:
        return await self._move("rebalance")

    async def _move(self, kind: str, worker: str = "") -> HttpResponse:
        done = await descriptions.repository(self._plane, kind, worker).move(kind, worker)
        return json_response(Moved(msgspec.json.decode(done)))

    def _wishes(self) -> tuple[Wished, ...]:
        recoveries = self._plane.recoveries
        return tuple(recoveries.wishes) if recoveries is not None else ()

    def _wished(self, name: str) -> Wished:
        found = {each.name: each for each in self._wishes()}
        if name not in found:
            raise UnknownName.among("model that was asked for", name, found)
        return found[name]

    def _told(self, wished: Wished) -> WantedModel:
        conditions = self._conditions(wished)
        ready = [name for name, each in conditions.items() if each.status in ("served", "degraded")]
        stages = tuple(stage for name in conditions for stage in self._stages(wished.name, name))
        status, reason = _status(wished, conditions)
        unlike = tuple(each for condition in conditions.values() for each in condition.substituted)
        return WantedModel(wished.name, wished.wish, status, reason, len(wished.models), len(ready), stages, unlike)

    def _conditions(self, wished: Wished) -> dict[str, Condition]:
        known = self._plane.recoveries.conditions if self._plane.recoveries is not None else {}
        return {name: known[name] for name in wished.models if name in known}

    def _stages(self, name: str, replica: str) -> Iterable[WantedStage]:
        plans = [plan for model in self._plane.models if model.name == name for plan in model.plans]
        conditions = self._plane.recoveries.conditions if self._plane.recoveries is not None else {}
        condition = conditions.get(replica, Condition())
        for plan in plans:
            for stage in plan.stages if plan.model == replica else ():
                worker = "" if condition.away or stage.original in condition.resting else stage.worker
                yield WantedStage(replica, stage.original, stage.operators, worker, plan.engine_of(stage))


_BEST = ("served", "degraded", "waiting", "asleep", "stopped")


def _status(wished: Wished, conditions: dict[str, Condition]) -> tuple[str, str]:
    """How a model is, and why not better."""
    if wished.status != "accepted":
        return wished.status, wished.reason
    if not conditions:
        return ("served" if not wished.wish.replicas else "loading"), ""
    best = min((each.status for each in conditions.values()), key=_BEST.index)
    return best, "; ".join(dict.fromkeys(f"{name}: {each.reason}" for name, each in conditions.items() if each.reason))


APIS.add("wanted", Api(endpoints=lambda plane: WantedApi(plane).endpoints()))
