"""Makes strokes happen to a deployment that runs, by the commands that a user has for it."""

from __future__ import annotations

import asyncio
import time
from contextlib import nullcontext

import httpx
import msgspec

from synfire.base.errors import SynfireError
from synfire.bench.soak.judgement import Violation
from synfire.bench.soak.ledger import Ledger
from synfire.bench.soak.recoveries import Kill
from synfire.bench.soak.reloading import load, unload
from synfire.bench.soak.served import Done, Served
from synfire.bench.soak.strokes import KNOWN, RELOAD, SERVE_KILL, Kind, Stroke
from synfire.deploy.faults import Act

BACK_WITHIN_S = 120.0
"""How long until calls are accepted again when a gateway was killed, on a busy machine."""

POLL_S = 0.1

_GONE = (
    "has ended already",
    "no running worker named",
    "no worker named",
    "no running gateway named",
    "no deployment is running",
)
"""What `synfire fault` says where the one that it should hit went meanwhile."""


_TEMPORARY = 3
"""The exit code for what may be tried again."""


class Striking:
    """Strokes, told to the ledger, with the `kills` that must have left a record."""

    def __init__(self, served: Served, ledger: Ledger) -> None:
        self.kills: list[Kill] = []
        self._served = served
        self._ledger = ledger

    async def strike(self, stroke: Stroke) -> None:
        """Do it, take it back where it is to be, and return when its effect on gateways is over.

        Raises `Violation` when the command for it fails, or the gateway does not come back.
        """
        kind = KNOWN[stroke.kind]
        target = kind.target(stroke, await self._served.sight(kind.aim))
        if target is None:
            self._ledger.tell(f"{stroke}: nobody is there to be hit")
        elif kind.name == RELOAD:
            await self._reload(stroke, target)
        else:
            await self._hit(kind, stroke, target)

    async def _hit(self, kind: Kind, stroke: Stroke, target: str) -> None:
        with self._ledger.excusing(kind.name) if kind.breaks else nullcontext():
            holders, starts = await self._holders() if kind.lethal else set(), self._served.starts
            await self._do(kind, stroke, target, holders)
            if kind.undone:
                await asyncio.sleep(stroke.for_s or 0.0)
                await self._do(kind, stroke, target, set())
            if kind.breaks:
                await self._back(kind, starts + (kind.name == SERVE_KILL))

    async def _reload(self, stroke: Stroke, model: str) -> None:
        self._ledger.tell(f"{stroke} {model}")
        with self._ledger.excusing(RELOAD, model):
            try:
                plan = await unload(self._served, model)
            except (SynfireError, httpx.HTTPError) as error:
                self._ledger.tell(f"… {model} is not unloaded: {error}")
                return
            await asyncio.sleep(stroke.for_s or 0.0)
            await load(self._served, plan)
        self._ledger.strokes[RELOAD] += 1
        self._ledger.tell(f"… {model} is served again")

    async def _do(self, kind: Kind, stroke: Stroke, target: str, holders: set[str]) -> None:
        self._ledger.tell(f"{stroke} {target}".rstrip())
        if kind.name == SERVE_KILL:
            self._ledger.strokes[kind.name] += 1
            return self._served.kill()
        done = await self._served.command(*kind.command(stroke, target), lasts_s=stroke.for_s or 0.0)
        if done.code:
            return self._missed(kind, done)
        self._ledger.strokes[kind.name] += 1
        self._ledger.tell(f"… {_moved(done) if kind.move else self._acted(done, holders)}")
        return None

    def _acted(self, done: Done, holders: set[str]) -> str:
        acts = msgspec.convert(done.said["acts"], list[Act])
        self.kills += [Kill(act.target, act.at_s) for act in acts if act.did == "SIGKILL" and act.target in holders]
        return "; ".join(f"{act.target}{f' (process {act.pid})' if act.pid else ''}: {act.did}" for act in acts)

    def _missed(self, kind: Kind, done: Done) -> None:
        """A stroke may come too late for its target, and a planned move may be put off. Raises `Violation` for any other error."""
        if not any(words in str(done) for words in _GONE) and not (kind.move and done.code == _TEMPORARY):
            raise Violation(str(done))
        self._ledger.tell(f"… {done}")

    async def _holders(self) -> set[str]:
        """The workers that hold stages."""
        try:
            return {each.name for each in await self._served.workers() if each.plans}
        except httpx.HTTPError:  # another stroke has just ended the gateway
            return set()

    async def _back(self, kind: Kind, starts: int) -> None:
        """Wait until calls are accepted by a deployment that was started so often: a killed one may take them a little longer."""
        until_s = time.monotonic() + BACK_WITHIN_S
        while self._served.starts < starts or not await self._served.ready():
            if time.monotonic() > until_s:
                raise Violation(f"after {kind.name} no call is accepted for {BACK_WITHIN_S:.0f} s")
            await asyncio.sleep(POLL_S)
        self._ledger.tell(f"… the gateway is back at {self._served.url}")


def _moved(done: Done) -> str:
    """What a planned move has done."""
    moved, ended = done.said["moved"], done.said["ended"]
    return f"{done.said['order']}: {len(moved)} stages moved, ended: {', '.join(ended) or 'nobody'}"
