"""Makes strokes happen to a deployment that runs, by the commands that a user has for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import replace

import httpx
import msgspec

from synfire.base.errors import SynfireError
from synfire.bench.soak.judgement import Violation
from synfire.bench.soak.ledger import Ledger
from synfire.bench.soak.processes import Seen, census, kill
from synfire.bench.soak.recoveries import Kill
from synfire.bench.soak.reloading import load, unload
from synfire.bench.soak.served import TEMPORARY, Done, Served
from synfire.bench.soak.strokes import KNOWN, RELOAD, SERVE_KILL, SHORTAGE, Kind, Stroke
from synfire.deploy.faults import Act

BACK_WITHIN_S = 120.0
"""How long until calls are accepted again when a gateway was killed, on a busy machine."""

POLL_S = 0.1

NEWBORN_S = 0.05
"""How often it is looked for newborn workers to kill: they take ten times as long to be ready."""

FOUND_WITHIN_S = 45.0
"""How long a corrupted bit may make answers wrong: a test is due every 10 s, and is put off twice at the most where there are calls;
and the controller, which asks for it, may be killed meanwhile."""

_GONE = (
    "has ended already",
    "no running worker named",
    "no worker named",
    "no running gateway named",
    "no deployment is running",
)
"""What `synfire fault` says where the one that it should hit went meanwhile."""

_CHIP_GONE = (
    "no worker of this deployment runs a stage on an emulated chip",
    "no worker of this deployment holds a stage with a membrane",
    "the chip is dead, and nothing more can break on it",
    "did not answer within",
    "cannot be reached",
    "the peer closed it",
)
"""The same of chips: they are all dead, or the worker that was drawn has just gone, or is stopped, or cut off."""


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
        elif kind.name == SHORTAGE:
            await self._shortage(kind, stroke, target)
        elif kind.corrupts:
            await self._corrupt(kind, stroke)
        else:
            await self._hit(kind, stroke, target)

    async def _hit(self, kind: Kind, stroke: Stroke, target: str) -> None:
        with self._ledger.excusing(kind.name) if kind.breaks else nullcontext():
            starts = self._served.starts
            holders = await self._holders() if kind.lethal and kind.aim != "chip" else set()
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

    async def _shortage(self, kind: Kind, stroke: Stroke, target: str) -> None:
        """Kill workers, and for a while all that are started in their place, until models are stopped; wait until all are back,
        and enough workers that the next loss stops none."""
        with self._ledger.excusing(SHORTAGE):
            serve, spared = self._served.pid, {each.pid for each in self._workers()}
            await self._do(kind, replace(stroke, for_s=None), target, set())
            until_s, killed = time.monotonic() + (stroke.for_s or 0.0), 0
            while time.monotonic() < until_s and self._served.pid == serve:  # one that is started anew gets its workers
                for each in self._workers():
                    killed += each.pid not in spared and kill(each)
                await asyncio.sleep(NEWBORN_S)
            self._ledger.tell(f"… {killed} workers were killed as they were started")
            await self._back(kind, self._served.starts)
            await self._until(self._served.complete, kind, "are there enough workers")

    def _workers(self) -> list[Seen]:
        return [each for each in census(self._served.traces.home) if each.role == "worker"]

    async def _corrupt(self, kind: Kind, stroke: Stroke) -> None:
        """Corrupt a bit: answers may be wrong until that is found."""
        excuse = self._ledger.excuse(kind.name)
        acts = await self._do(kind, stroke, "", set())
        now_s = time.monotonic()
        if not acts:
            return self._ledger.revise(excuse, until_s=now_s)
        worker, _, stage = acts[0].target.partition("/")
        where = {"worker": worker, "stage": stage, "model": stage.partition(".")[0]}
        return self._ledger.revise(excuse, until_s=now_s + FOUND_WITHIN_S, struck_s=now_s, **where)

    async def _do(self, kind: Kind, stroke: Stroke, target: str, holders: set[str]) -> list[Act]:
        """Have it done, and tell of it; what was done to whom."""
        self._ledger.tell(f"{stroke} {target}".rstrip())
        if kind.name == SERVE_KILL:
            self._ledger.strokes[kind.name] += 1
            self._served.kill()
            return []
        done = await self._served.command(*kind.command(stroke, target), lasts_s=stroke.for_s or 0.0)
        if done.code:
            self._missed(kind, done)
            return []
        self._ledger.strokes[kind.name] += 1
        acts = [] if kind.move else msgspec.convert(done.said["acts"], list[Act])
        self._ledger.tell(f"… {_moved(done) if kind.move else _acted(acts)}")
        self.kills += [Kill(act.target, act.at_s) for act in acts if act.did == "SIGKILL" and act.target in holders]
        if kind.lethal and kind.aim == "chip":
            self.kills += [Kill(act.target.partition("/")[0], act.at_s) for act in acts]
        return acts

    def _missed(self, kind: Kind, done: Done) -> None:
        """A stroke may come too late for its target, or just when another one hits that. Raises `Violation` for any other error."""
        gone = (*_GONE, *_CHIP_GONE) if kind.aim == "chip" else _GONE
        if done.code != TEMPORARY and not any(words in str(done) for words in gone):
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

        async def back() -> bool:
            return self._served.starts >= starts and await self._served.ready()

        await self._until(back, kind, "is a call accepted")
        self._ledger.tell(f"… the gateway is back at {self._served.url}")

    async def _until(self, so: Callable[[], Awaitable[bool]], kind: Kind, what: str) -> None:
        """Wait until that is so. Raises `Violation` where it takes too long."""
        until_s = time.monotonic() + BACK_WITHIN_S
        while not await so():
            if time.monotonic() > until_s:
                raise Violation(f"after {kind.name} in {BACK_WITHIN_S:.0f} s not once {what}")
            await asyncio.sleep(POLL_S)


def _acted(acts: list[Act]) -> str:
    """What a fault has done."""
    return "; ".join(f"{act.target}{f' (process {act.pid})' if act.pid else ''}: {act.did}" for act in acts)


def _moved(done: Done) -> str:
    """What a planned move has done."""
    moved, ended = done.said["moved"], done.said["ended"]
    return f"{done.said['order']}: {len(moved)} stages moved, ended: {', '.join(ended) or 'nobody'}"
