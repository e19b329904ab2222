"""Carries out what was decided: calls of Kubernetes' API and of the deployment, one after the other or side by side."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Protocol

from synfire.base.errors import SynfireError, TemporaryError
from synfire.kubernetes.cluster.api import Api, ApiError, Conflict, Forbidden, Missing
from synfire.kubernetes.cluster.kinds import path_of
from synfire.kubernetes.cluster.mirror import Mirror
from synfire.kubernetes.controller.conditions import GRANT
from synfire.kubernetes.controller.decision import (
    Action,
    Ask,
    Create,
    Delete,
    EnsureSecret,
    MarkPod,
    Replace,
    SetFinalizers,
    SetStatus,
    Tell,
)
from synfire.kubernetes.controller.deployment import Call, Deployed, Load, PutChain, Steer
from synfire.kubernetes.controller.objects import digest_of, key_of
from synfire.kubernetes.controller.observed import Document, Key, Refusal
from synfire.kubernetes.manifests import Description, Keys, surroundings
from synfire.kubernetes.manifests.writing import fresh_keys

LOGGER = logging.getLogger(__name__)

AT_A_TIME = 16
"""Calls under way side by side; a server that has more to do says so, and is asked later."""


class Reach(Protocol):
    """The deployment of one namespace, however it is reached."""

    async def look(self) -> Deployed:
        """What it says of itself. Raises `TemporaryError` where it does not answer."""

    async def carry_out(self, call: Call) -> None:
        """Raises `UserError` where the call is at fault, `TemporaryError` where it is to be tried again."""


class Hands:
    """Those of one namespace. `refusals` is what was refused, by object, until it is tried again; `has_keys` says whether the deployment's
    Secret was seen."""

    def __init__(
        self, api: Api, namespace: str, mirrors: Mapping[str, Mirror], reach: Reach, described: Description
    ) -> None:
        self.refusals: dict[Key, Refusal] = {}
        self._api = api
        self._namespace = namespace
        self._mirrors = mirrors
        self._reach = reach
        self._described = described
        self.has_keys = False

    def forgive(self) -> None:
        """Try everything again, and look whether the keys are still there."""
        self.refusals.clear()
        self.has_keys = False

    async def carry_out(self, actions: Sequence[Action], may_act: Callable[[], bool]) -> bool:
        """Do all of it, kind after kind. Returns whether everything was done: what was refused, or met a conflict, is decided anew.

        Nothing is asked for an object that was to wait for us when it goes, and could not be made to.
        """
        whole, unheld = True, set[Key]()
        for kind, group in groupby(actions, type):
            due = [each for each in group if not (isinstance(each, Ask) and each.of in unheld)]
            for some in _portions(due, AT_A_TIME):
                if not may_act():
                    return False
                found = await asyncio.gather(*(self._try(each) for each in some))
                whole = whole and all(found)
                if kind is SetFinalizers:
                    unheld |= {_key(each) for each, done in zip(some, found, strict=True) if not done}
        return whole

    async def _try(self, action: Action) -> bool:
        try:
            await self._do(action)
        except Conflict as error:
            LOGGER.debug("%s: %s; it is decided anew", self._namespace, error)
            return False
        except Missing as error:
            LOGGER.debug("%s: %s; it is decided anew", self._namespace, error)
            if isinstance(action, (Replace, SetFinalizers)):
                self._forget(key_of(action.document))
            return isinstance(action, (Delete, MarkPod, SetStatus))
        except TemporaryError as error:
            LOGGER.info("%s: %s; it is tried again", self._namespace, error)
            return False
        except SynfireError as error:
            self._refuse(action, error)
            return False
        self._allow(action)
        return True

    async def _do(self, action: Action) -> None:
        match action:
            case EnsureSecret(name):
                await self._ensure_secret(name)
            case Create(document):
                self._note(await self._api.ask("POST", self._path(document), document))
            case Replace(document):
                self._note(await self._api.ask("PUT", self._path(document, named=True), document))
            case Delete():
                await self._delete(action)
            case SetStatus(document):
                self._note(await self._api.ask("PUT", f"{self._path(document, named=True)}/status", document))
            case SetFinalizers(document):
                self._note(await self._api.ask("PUT", self._path(document, named=True), document))
            case MarkPod(name, labels, annotations):
                metadata = {"labels": labels, "annotations": annotations}
                path = path_of("v1", "Pod", self._namespace, name)
                self._note(await self._api.ask("PATCH", path, {"metadata": metadata}))
            case Tell(document):
                await self._tell(document)
            case Ask(call, _):
                await self._reach.carry_out(call)

    async def _tell(self, document: Document) -> None:
        """Told already is told."""
        try:
            await self._api.ask("POST", self._path(document), document)
        except Conflict:
            return
        except Forbidden as error:
            LOGGER.warning("%s: an Event cannot be told: %s", self._namespace, error)

    async def _ensure_secret(self, name: str) -> None:
        """It is looked for by name: a right to watch Secrets would be one to read all of them."""
        path = path_of("v1", "Secret", self._namespace)
        try:
            await self._api.ask("GET", f"{path}/{name}")
        except Missing:
            keys = await asyncio.to_thread(fresh_keys)
            try:
                await self._api.ask("POST", path, surroundings.secret(self._described, keys))
            except Conflict:
                LOGGER.debug("%s: somebody else has made the Secret", self._namespace)
        self.has_keys = True

    async def keys(self) -> Keys:
        """The deployment's keys. Raises `Missing` before they are there."""
        path = path_of("v1", "Secret", self._namespace, self._described.secret_name)
        data = (await self._api.ask("GET", path)).get("data", {})
        api_key, token = (base64.b64decode(data.get(each, "")).decode() for each in ("api-key", "join-token"))
        return Keys(api_key, token)

    async def _delete(self, found: Delete) -> None:
        path = path_of(found.api, found.key.kind, self._namespace, found.key.name)
        options: Document = {"preconditions": {"uid": found.uid}, "propagationPolicy": "Background"}
        if found.at_once:
            options["gracePeriodSeconds"] = 0
        await self._api.ask("DELETE", path, {"apiVersion": "v1", "kind": "DeleteOptions", **options})
        self._forget(found.key)

    def _path(self, document: Document, named: bool = False) -> str:
        name = document["metadata"]["name"] if named else ""
        return path_of(document["apiVersion"], document["kind"], self._namespace, name)

    def _note(self, written: Document) -> None:
        if written.get("kind") in self._mirrors:
            self._mirrors[written["kind"]].note(written)

    def _forget(self, key: Key) -> None:
        if key.kind in self._mirrors:
            self._mirrors[key.kind].forget(self._namespace, key.name)

    def _refuse(self, action: Action, error: SynfireError) -> None:
        key = _key(action)
        words, reason = str(error), "Refused"
        if isinstance(error, Forbidden):
            reason = "MissingPermission"
            words = f"{words}; {GRANT}"
        elif isinstance(error, ApiError):
            reason, words = error.reason, f"Kubernetes refuses {key}: {words}"
        if self.refusals.get(key) is None:
            LOGGER.warning("%s: %s", self._namespace, words)
        self.refusals[key] = Refusal(_digest(action), words, reason)

    def _allow(self, action: Action) -> None:
        if isinstance(action, (Create, Replace, Ask)):
            self.refusals.pop(_key(action), None)


def _key(action: Action) -> Key:
    match action:
        case Create(document) | Replace(document) | SetStatus(document) | SetFinalizers(document) | Tell(document):
            return key_of(document)
        case Delete(_, key):
            return key
        case Ask(_, of):
            return of
        case MarkPod(name, _, _):
            return Key("Pod", name)
        case EnsureSecret(name):
            return Key("Secret", name)


def _digest(action: Action) -> str:
    match action:
        case Ask(Load(_, content) | PutChain(_, content) | Steer(_, content), _):
            return digest_of(dict(content))
    return ""


def _portions(found: list[Action], size: int) -> Iterator[list[Action]]:
    for start in range(0, len(found), size):
        yield found[start : start + size]
