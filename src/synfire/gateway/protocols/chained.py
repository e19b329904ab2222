"""Chains that are to be served, over HTTP: asked for as a chain's file says it, in JSON. Asking twice is asking once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from synfire.base.errors import UnknownName, UserError
from synfire.chains import Chain
from synfire.chains.reading import SUFFIXES, chain_of
from synfire.devices import DEVICES
from synfire.gateway import descriptions
from synfire.gateway.api import APIS, Api
from synfire.gateway.chains import why_not_called
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.http import Endpoint, HttpRequest, HttpResponse, json_response
from synfire.gateway.status import ACCEPTED, OK
from synfire.plan.planner import GRANULARITIES
from synfire.store import ModelName
from synfire.wire.chain import ChainState
from synfire.wire.wish import Wish

LONGEST_BYTES = 2**20
"""So long may a chain be: as long as an object of Kubernetes."""


class WantedChain(msgspec.Struct, frozen=True):
    """A chain that was asked for. `status` is `waiting` (for models, or for their workers), `served`, `stopped` (a model of it is) or `failed` (it
    does not fit the models that it calls); `reason` says why it is not served."""

    name: str
    chain: dict[str, Any]
    status: str
    ready: bool
    reason: str
    models: tuple[str, ...]


class ChainedApi:
    """`/api/deployment/chains`. What is asked for here is done at every gateway."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    def endpoints(self) -> Iterable[Endpoint]:
        all_, one, fails = "/api/deployment/chains", "/api/deployment/chains/{name}", (400, 404, 501, 503)
        yield Endpoint("GET", all_, self.all, "Chains that were asked for", None, list[WantedChain])
        yield Endpoint("GET", one, self.one, "A chain that was asked for", None, WantedChain, (404,))
        yield Endpoint("PUT", one, self.want, "Have a chain served from now on", dict[str, Any], WantedChain, fails)
        yield Endpoint("DELETE", one, self.drop, "Have a chain served no longer", None, None, fails)

    async def all(self, request: HttpRequest) -> HttpResponse:
        return json_response([self._told(each) for _, each in sorted(self._plane.asked_chains.items())])

    async def one(self, request: HttpRequest) -> HttpResponse:
        return json_response(self._told(self._asked(request.path["name"])))

    async def want(self, request: HttpRequest) -> HttpResponse:
        name, content = request.path["name"], request.body or b"{}"
        if len(content) > LONGEST_BYTES:
            raise UserError(
                f"chain {name!r} is {len(content)} bytes long; {LONGEST_BYTES} are the most, divide it into several"
            )
        try:
            check_asked(name, request.json(dict[str, Any]))
            new = await descriptions.changing(self._plane, "serve", name).chain(name, content)
        except UnknownName as error:  # a step, or an output: it is not the path that is unknown
            raise UserError(str(error)) from error
        told = self._plane.asked_chains.get(name, ChainState(name, content))
        return json_response(self._told(told), ACCEPTED if new else OK)

    async def drop(self, request: HttpRequest) -> HttpResponse:
        name = request.path["name"]
        await descriptions.changing(self._plane, "end", name).chain(name, b"")
        return HttpResponse()

    def _asked(self, name: str) -> ChainState:
        found = self._plane.asked_chains
        if name not in found:
            raise UnknownName.among("chain that was asked for", name, found)
        return found[name]

    def _told(self, state: ChainState) -> WantedChain:
        content = msgspec.json.decode(state.content, type=dict[str, Any])
        status, reason = self._status(state)
        models = chain_of(content, state.name).called
        return WantedChain(state.name, content, status, status == "served", reason, models)

    def _status(self, state: ChainState) -> tuple[str, str]:
        """How a chain is, and why not better."""
        if not state.joined:
            return "failed" if state.failure else "waiting", why_not_called(self._plane, state)
        model = self._plane.model(state.name)
        reason = descriptions.why_not_ready(self._plane, model)
        return ("stopped" if model.failure else "waiting") if reason else "served", reason


def check_asked(name: str, content: dict[str, Any]) -> Chain:
    """The chain that is asked for by this name. Raises `UserError` for what cannot be, whatever models there are."""
    if not ModelName.suits(name):
        raise UserError(f"{name!r} is no name for a chain: it takes letters, digits, '.', '_' and '-'")
    chain = chain_of(content, name)
    if chain.name != name:
        raise UserError(
            f"the chain is asked for as {name!r} and says that its name is {chain.name!r}; leave its `name` out"
        )
    for model, reference in chain.models.items():
        where = f"model {model!r}"
        if not ModelName.suits(model) or set(":/") & set(model):
            raise UserError(f"{where} is no name for a served model: it takes letters, digits, '.', '_' and '-'")
        if reference.endswith(SUFFIXES):
            raise UserError(
                f"{where}: {reference!r} is a chain's file; over HTTP ask for each chain by itself, and name it in a step"
            )
        Wish(reference).check(model, GRANULARITIES, DEVICES)
    return chain


APIS.add("chained", Api(endpoints=lambda plane: ChainedApi(plane).endpoints()))
