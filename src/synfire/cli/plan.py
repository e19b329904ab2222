"""`synfire plan`: where a model would be cut and placed, and why."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from synfire.cli.models import Accept, AcceptOption, AllowOption, DiscretisationOption, DtOption, Reading, find_all
from synfire.cli.options import ApartOption, DeviceOption, Granularity, GranularityOption, MemoryOption, WorkersOption
from synfire.cli.output import AsJson, counted, print_json, say, table
from synfire.cli.serve_options import ThreadsOption
from synfire.deploy.planning import DEVICE, Planned, plan_models
from synfire.ops import Kind
from synfire.plan import Demand, Plan, memory_bytes
from synfire.plan.costs import format_bytes, format_seconds


def plan(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Models as for `show`; one or more.")],
    granularity: GranularityOption = Granularity.AUTO,
    workers: WorkersOption = 2,
    apart: ApartOption = False,
    memory: MemoryOption = None,
    device: DeviceOption = DEVICE,
    threads: ThreadsOption = None,
    discretisation: DiscretisationOption = None,
    dt_s: DtOption = None,
    allow: AllowOption = None,
    accept: AcceptOption = Accept.TENSOR,
    explain: Annotated[bool, typer.Option("--explain", help="Say in words why it is cut and placed so.")] = False,
    as_json: AsJson = False,
) -> None:
    """Plan without serving: cut models into stages and place these on workers, by costs measured on this machine.

    \b
    Examples:
      synfire plan svgg-digits --granularity block --workers 2 --explain
      synfire plan svgg-mnist --memory 2MB --json
      synfire plan stransformer-digits --device darwin3 --explain
    """
    found = find_all(models, Reading(discretisation, dt_s, allow, accept))
    planned = plan_models(found, granularity, workers, memory, apart, device, threads=threads)
    if as_json:
        print_json({"plans": [_plain(each) for each in planned]})
        return
    for each in planned:
        _print(each)
        for reason in each.plan.reasons if explain else ():
            say(f"  · {reason}")
        if explain and each.costs.operator_s:
            _print_operators(each)


def _plain(planned: Planned) -> dict[str, Any]:
    return {
        **planned.plan.to_json(),
        "workers": list(planned.plan.workers),
        "threads": planned.costs.threads,
        "operators": {
            name: {"seconds": planned.costs.operator_s[name], "density": planned.costs.density.get(name)}
            for name in planned.graph.order()
            if name in planned.costs.operator_s
        },
        "explanation": "\n".join(planned.plan.reasons),
    }


def predicted(plan: Plan) -> str:
    """What the plan promises, in words."""
    return f"predicted {format_seconds(plan.latency_s)} a request" if plan.latency_s else "no time predicted"


def _print(planned: Planned) -> None:
    chosen = planned.plan
    threads = f" with {planned.costs.threads} threads each" if planned.costs.threads > 1 else ""
    say(
        f"{chosen.model}: {counted(len(chosen.stages), 'stage')} on {counted(len(chosen.workers), 'worker')}{threads}, frames of "
        f"{chosen.frame_steps} of {counted(planned.costs.steps, 'step')}, {predicted(chosen)}"
    )
    rows = [
        (
            stage.name,
            stage.worker,
            chosen.engine_of(stage),
            len(stage.operators),
            "" if stage.engine else format_seconds(planned.costs.block_s(stage.operators, 1)),
            format_bytes(memory_bytes(planned.graph, stage.operators, Demand.requests)),
            len(stage.parts) or "",
            format_bytes(
                sum({link.source: link.bytes_per_step for link in chosen.links if link.sender == stage.name}.values())
            ),
        )
        for stage in chosen.stages
    ]
    holds = f"-holds ({Demand.requests} requests)"
    say(table("", ("stage", "worker", "engine", "-operators", "-computes", holds, "-parts", "-sends per step"), rows))


def _print_operators(planned: Planned) -> None:
    """What was measured of each operator, on one request: its time, and how many of the spikes that it emits are 1."""
    signals, costs = planned.graph.signals(), planned.costs
    rows = [
        (
            name,
            format_seconds(costs.operator_s[name]),
            f"{costs.density[name]:.1%}" if signals[name].kind is Kind.SPIKE and name in costs.density else "",
        )
        for name in planned.graph.order()
        if name in costs.operator_s
    ]
    say(table("", ("operator", "-computes", "-spikes"), rows))
