"""Which of several controllers acts: the one that holds the Lease. The others watch, and take over when it is no longer renewed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from synfire.base.clock import Clock, SystemClock
from synfire.base.errors import SynfireError
from synfire.kubernetes.cluster.api import Api, Conflict, Document, Missing
from synfire.kubernetes.cluster.kinds import path_of

LOGGER = logging.getLogger(__name__)

API = "coordination.k8s.io/v1"


@dataclass(frozen=True)
class Terms:
    """How long a lease holds, and how often it is renewed, in seconds. Whoever holds it stops acting `margin_s` before others may take it:
    so two never act, however the clocks of their machines stand, as long as these run equally fast."""

    duration_s: float = 15.0
    renew_s: float = 2.0
    margin_s: float = 5.0


class Lease:
    """One candidate. `run` keeps it, or waits for it; `held` says whether it is ours at this moment."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        name: str,
        identity: str,
        terms: Terms | None = None,
        clock: Clock | None = None,
        changed: Callable[[bool], None] = lambda held: None,
    ) -> None:
        self._api = api
        self._path = path_of(API, "Lease", namespace)
        self._namespace, self._name = namespace, name
        self._identity = identity
        self._terms = terms or Terms()
        self._clock = clock or SystemClock()
        self._changed = changed
        self._renewed_s: float | None = None
        self._seen: tuple[str, str] = ("", "")
        self._seen_s = 0.0
        self._told = False

    @property
    def held(self) -> bool:
        """Whether it is ours, and nobody else can have taken it."""
        if self._renewed_s is None:
            return False
        return self._clock.now_s() - self._renewed_s < self._terms.duration_s - self._terms.margin_s

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.step()
            except SynfireError as error:
                LOGGER.warning("the lease %s cannot be renewed: %s", self._name, error)
            self._tell()
            await asyncio.sleep(self._terms.renew_s)

    async def step(self) -> None:
        """Renew it, or take it where it is nobody's, or its holder is silent."""
        asked_s = self._clock.now_s()
        try:
            seen = await self._api.ask("GET", f"{self._path}/{self._name}")
        except Missing:
            seen = None
        if seen is not None and not self._may_take(seen):
            self._renewed_s = None
            return
        try:
            await self._write(seen)
        except Conflict:
            self._renewed_s = None
            return
        self._renewed_s = asked_s

    async def release(self) -> None:
        """Give it back, so that another one acts at once."""
        if self._renewed_s is None:
            return
        self._renewed_s = None
        try:
            seen = await self._api.ask("GET", f"{self._path}/{self._name}")
            if seen["spec"].get("holderIdentity") == self._identity:
                seen["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                await self._api.ask("PUT", f"{self._path}/{self._name}", seen)
        except SynfireError as error:
            LOGGER.info("the lease %s was not given back: %s; it ends by itself", self._name, error)
        self._tell()

    def _may_take(self, seen: Document) -> bool:
        """Its holder's clock counts for nothing: it is silent when we have seen no renewal for as long as it holds."""
        spec = seen["spec"]
        holder = spec.get("holderIdentity") or ""
        sign = (holder, spec.get("renewTime") or "")
        if sign != self._seen:
            self._seen, self._seen_s = sign, self._clock.now_s()
        if holder in ("", self._identity):
            return True
        holds_s = spec.get("leaseDurationSeconds") or self._terms.duration_s
        return self._clock.now_s() - self._seen_s >= holds_s

    async def _write(self, seen: Document | None) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        before = seen["spec"] if seen is not None else {}
        same = before.get("holderIdentity") == self._identity
        spec = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": int(self._terms.duration_s),
            "renewTime": now,
            "acquireTime": before.get("acquireTime") if same else now,
            "leaseTransitions": (before.get("leaseTransitions") or 0) + (not same and seen is not None),
        }
        if seen is None:
            metadata = {"name": self._name, "namespace": self._namespace}
            await self._api.ask(
                "POST", self._path, {"apiVersion": API, "kind": "Lease", "metadata": metadata, "spec": spec}
            )
        else:
            await self._api.ask("PUT", f"{self._path}/{self._name}", {**seen, "spec": spec})

    def _tell(self) -> None:
        if self._told != self.held:
            self._told = self.held
            LOGGER.info("%s %s the lease %s", self._identity, "holds" if self.held else "does not hold", self._name)
            self._changed(self._told)
