"""The deployment of a namespace over its own HTTP."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from synfire.base.clock import SystemClock
from synfire.base.errors import SynfireError, TemporaryError, UnknownName, UserError
from synfire.kubernetes.controller.deployment import (
    Call,
    ClearTraffic,
    Deployed,
    Drain,
    DropChain,
    Hosted,
    JoinedWorker,
    Load,
    PutChain,
    Recovered,
    ServedChain,
    ServedModel,
    Steer,
    Told,
    Unload,
)
from synfire.store.names import of_replica
from synfire.wire.traffic import TrafficCount

ANSWER_S = 5.0
DRAIN_S = 120.0

CHAINS = "/api/deployment/chains"
TOLD = "/api/deployment/told"
VACANCIES = "/api/deployment/vacancies"

COUNT_S = 10.0
"""How often is asked what names with a rule did: each answer that is another one is written into a status."""

_BUSY = (408, 429, 502, 503, 504)


class Asking:
    """Use it until `close`. `key` is asked for when it is needed first, and again when the deployment refuses it."""

    def __init__(self, url: str, key: Callable[[], Awaitable[str]]) -> None:
        self._http = httpx.AsyncClient(base_url=url, timeout=ANSWER_S, trust_env=False)
        self._url = url
        self._key = key
        self._shown: str | None = None
        self._known: dict[bytes, ServedModel] = {}
        self._counts: Mapping[str, TrafficCount] = {}
        self._counted_s = -math.inf
        self._clock = SystemClock()

    async def look(self) -> Deployed:
        """Raises `TemporaryError` where it does not answer. Another one may have taken its place in the midst of it: whether all was told is older
        than the models that are, so nothing is told of what one before knew."""
        told = await self._told()
        models = await self._models()
        chains = await self._chains()
        workers = await self._ask("GET", "/api/workers")
        events = await self._ask("GET", "/api/events")
        return Deployed(
            models,
            {each["name"]: _chain(each) for each in chains},
            {each["name"]: _worker(each) for each in workers},
            tuple(map(_recovered, events)),
            await self._traffic(),
            told,
            await self._vacancies(),
        )

    async def carry_out(self, call: Call) -> None:
        """Raises `UserError` where the call is at fault, `TemporaryError` where it is to be tried again."""
        match call:
            case Load(model, request):
                await self._ask("PUT", f"/api/deployment/models/{quote(model)}", dict(request))
            case Unload(model):
                await self._ask("DELETE", f"/api/deployment/models/{quote(model)}")
            case PutChain(chain, content):
                await self._put_chain(chain, content)
            case DropChain(chain):
                await self._ask("DELETE", f"{CHAINS}/{quote(chain)}")
            case Steer(name, rule):
                await self._ask("POST", f"/api/traffic/{quote(name)}", dict(rule))
                self._counted_s = -math.inf
            case ClearTraffic(name):
                await self._ask("DELETE", f"/api/traffic/{quote(name)}")
                self._counted_s = -math.inf
            case Told(models):
                await self._ask("POST", TOLD, {"models": models})
            case Drain(worker):
                await self._ask("POST", f"/api/workers/{quote(worker)}/drain", {}, DRAIN_S)

    async def _told(self) -> bool:
        """A deployment of an older image does not ask."""
        try:
            return bool((await self._ask("GET", TOLD))["told"])
        except UnknownName:
            return True

    async def _vacancies(self) -> Mapping[str, int]:
        """Nothing, of a deployment of an older image."""
        try:
            found: Mapping[str, int] = (await self._ask("GET", VACANCIES))["places"]
        except UnknownName:
            return {}
        return found

    async def _models(self) -> dict[str, ServedModel]:
        """Those that say the same as the last time are the same ones."""
        told = msgspec.json.decode(await self._content("GET", "/api/deployment/models"), type=list[msgspec.Raw])
        known = {bytes(each): self._known.get(bytes(each)) or _model(msgspec.json.decode(each)) for each in told}
        self._known = known
        return {each.name: each for each in known.values()}

    async def _put_chain(self, chain: str, content: Mapping[str, Any]) -> None:
        try:
            await self._ask("PUT", f"{CHAINS}/{quote(chain)}", dict(content))
        except UnknownName as error:
            raise UserError(
                f"the serving Pod takes no chains over HTTP, so {chain} is not served: its image is an older one; give the controller a newer one "
                "(--image)"
            ) from error

    async def _chains(self) -> Any:
        """None, of a deployment of an older image, which takes no chains over HTTP."""
        try:
            return await self._ask("GET", CHAINS)
        except UnknownName:
            return ()

    async def _traffic(self) -> Mapping[str, TrafficCount]:
        """The rules, and what was counted some seconds ago at most; none of a deployment of an older image."""
        if self._clock.now_s() - self._counted_s >= COUNT_S:
            with suppress(UnknownName):
                told = msgspec.json.decode(
                    await self._content("GET", "/api/deployment/traffic"), type=list[TrafficCount]
                )
                self._counts = {each.rule.name: each for each in told}
            self._counted_s = self._clock.now_s()
        return self._counts

    async def close(self) -> None:
        await self._http.aclose()

    async def _ask(self, method: str, path: str, content: object = None, within_s: float = ANSWER_S) -> Any:
        found = await self._content(method, path, content, within_s)
        return msgspec.json.decode(found) if found else None

    async def _content(self, method: str, path: str, content: object = None, within_s: float = ANSWER_S) -> bytes:
        for last in (False, True):
            if self._shown is None:
                self._shown = await self._key()
            answer = await self._answer(method, path, content, within_s)
            if answer.status_code != 401 or last:
                break
            self._shown = None
        if answer.status_code == 404 and method == "DELETE":
            return b""
        if answer.status_code >= 400:
            raise _error(answer)
        return answer.content

    async def _answer(self, method: str, path: str, content: object, within_s: float) -> httpx.Response:
        body = None if content is None else msgspec.json.encode(content)
        shown = {"authorization": f"Bearer {self._shown}"} if self._shown else {}
        try:
            return await self._http.request(method, path, content=body, headers=shown, timeout=within_s)
        except httpx.HTTPError as error:
            raise TemporaryError(
                f"the deployment does not answer at {self._url}: {error or type(error).__name__}"
            ) from error


def _error(answer: httpx.Response) -> SynfireError:
    try:
        words = str(msgspec.json.decode(answer.content)["error"])
    except (msgspec.DecodeError, KeyError, TypeError):
        words = f"status {answer.status_code}"
    if answer.status_code in _BUSY:
        return TemporaryError(words)
    return UnknownName(words) if answer.status_code == 404 else UserError(words)


def _model(told: Mapping[str, Any]) -> ServedModel:
    stages = tuple(
        Hosted(each["stage"], each["worker"], tuple(each["operators"]), each["replica"]) for each in told["stages"]
    )
    engines = dict.fromkeys(each["engine"] for each in told["stages"])
    wish = told["wish"]
    return ServedModel(
        told["name"],
        wish,
        told["status"],
        told["reason"],
        stages,
        told["replicas"],
        told["replicas_ready"],
        wish.get("profile") or ", ".join(engines),
        tuple(map(_unlike, told.get("substituted", ()))),
    )


def _unlike(told: Mapping[str, Any]) -> str:
    """Without how far the two agree, which is known some time later: words that change would be news."""
    return f"{told['model']}.{told['stage']} runs on {told['engine']} in place of {told['planned']}"


def _chain(told: Mapping[str, Any]) -> ServedChain:
    return ServedChain(told["name"], told["chain"], told["ready"], told["reason"], told["status"] == "failed")


def _worker(told: Mapping[str, Any]) -> JoinedWorker:
    return JoinedWorker(told["name"], told["ready"], told.get("url") or "", told.get("role") or "")


def _recovered(told: Mapping[str, Any]) -> Recovered:
    began_s = min(each["began_s"] for each in told["steps"])
    ended_s = max(each["began_s"] + each["duration_s"] for each in told["steps"])
    cause = f"{told['cause']['kind']} of {told['cause']['target']}"
    models = tuple(dict.fromkeys(of_replica(each["model"]) for each in told["models"]))
    return Recovered(began_s, cause, told["outcome"], models, ended_s - began_s)
