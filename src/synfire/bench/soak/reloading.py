"""Has a model be served no longer, and again after a while, by orders at the controller's door."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

import httpx
import msgspec

from synfire.base.errors import SynfireError, TemporaryError, UserError
from synfire.bench.soak.judgement import Violation
from synfire.bench.soak.served import Served
from synfire.deploy.door import NAME, ask
from synfire.formats.bundle import manifest_digest
from synfire.graph import flatten
from synfire.graph.passes import simplify
from synfire.plan import Plan
from synfire.wire.messages import Load, Unload
from synfire.zoo import find

ORDERED_S = 30.0
"""How long an order may take on a busy machine: every stage is built by its worker."""

AGAIN_S = 60.0
"""For so long a load is tried again, where the controller is away or a worker was just lost."""

RETRY_S = 0.2


async def unload(served: Served, model: str) -> Plan:
    """Have the model be served no longer; the plan that it had. Raises what the controller, or the gateway, has against it.

    An order whose answer is lost with the controller may have come about, or not; `load` makes both good.
    """
    async with httpx.AsyncClient(base_url=served.url, trust_env=False, timeout=5.0) as client:
        response = await client.get(f"/api/plans/{model}")
    if response.status_code != 200:
        raise TemporaryError(f"model {model!r} has no plan now: {response.text}")
    plan = msgspec.json.decode(response.content, type=Plan)
    with suppress(TemporaryError):
        await _order(served, Unload(model))
    return plan


async def load(served: Served, plan: Plan) -> None:
    """Have the plan's model be served again, on workers that live. Raises `Violation` when that cannot be had."""
    model, until_s = plan.model, time.monotonic() + AGAIN_S
    digest = await asyncio.to_thread(_digest, model)
    while True:
        try:
            living = sorted(each.name for each in await served.workers() if each.ready)
            order = Load(model, "1", "zoo", digest, placed(plan, living))
            return await _order(served, order)
        except UserError as error:  # whoever has started the deployment anew has loaded it too
            if "is served already" in str(error):
                return None
            raise Violation(f"model {model!r} cannot be loaded again: {error}") from error
        except (SynfireError, httpx.HTTPError) as error:
            if time.monotonic() > until_s:
                raise Violation(f"model {model!r} could not be loaded for {AGAIN_S:.0f} s: {error}") from error
            await asyncio.sleep(RETRY_S)


def placed(plan: Plan, living: Sequence[str]) -> Plan:
    """The plan, with the first of those that live in place of workers that have gone. Raises `TemporaryError` when none lives.

    Whether that one has the device that a stage wants is for the deployment to see.
    """
    if not living:
        raise TemporaryError("no worker lives")
    stages = tuple(
        each if each.worker in living else msgspec.structs.replace(each, worker=living[0]) for each in plan.stages
    )
    return msgspec.structs.replace(plan, stages=stages)


async def _order(served: Served, order: Load | Unload) -> None:
    doors = list(served.traces.home.glob(f"run/*/{NAME}"))
    if len(doors) != 1:
        raise TemporaryError(f"there are {len(doors)} controllers' doors now")
    address, deployment = f"unix:{doors[0]}", doors[0].parent.name
    await asyncio.to_thread(ask, address, deployment, order, ORDERED_S)


def _digest(model: str) -> str:
    """The blob that describes the model's graph, as it is served."""
    return manifest_digest(simplify(flatten(find(model).graph)))
