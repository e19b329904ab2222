"""`synfire plan`: where a model would be cut and placed, and why."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from synfire.cli.models import Accept, AcceptOption, AllowOption, DiscretisationOption, DtOption, Reading, find_all
from synfire.cli.options import ApartOption, Granularity, GranularityOption, MemoryOption, WorkersOption
from synfire.cli.output import AsJson, print_json, say, table
from synfire.deploy.planning import Planned, plan_models
from synfire.plan import memory_bytes
from synfire.plan.costs import format_bytes, format_seconds


def plan(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Models as for `show`; one or more.")],
    granularity: GranularityOption = Granularity.AUTO,
    workers: WorkersOption = 2,
    apart: ApartOption = False,
    memory: MemoryOption = None,
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
    """
    planned = plan_models(
        find_all(models, Reading(discretisation, dt_s, allow, accept)), granularity, workers, memory, apart
    )
    if as_json:
        print_json({"plans": [_plain(each) for each in planned]})
        return
    for each in planned:
        _print(each)
        for reason in each.plan.reasons if explain else ():
            say(f"  · {reason}")


def _plain(planned: Planned) -> dict[str, Any]:
    return {
        **planned.plan.to_json(),
        "workers": list(planned.plan.workers),
        "explanation": "\n".join(planned.plan.reasons),
    }


def _print(planned: Planned) -> None:
    chosen = planned.plan
    say(
        f"{chosen.model}: {len(chosen.stages)} stages on {len(chosen.workers)} workers, frames of {chosen.frame_steps} "
        f"of {planned.costs.steps} steps, predicted {format_seconds(chosen.latency_s)} a request"
    )
    rows = [
        (
            stage.name,
            stage.worker,
            len(stage.operators),
            format_seconds(planned.costs.block_s(stage.operators, 1)),
            format_bytes(memory_bytes(planned.graph, stage.operators)),
            format_bytes(
                sum({link.source: link.bytes_per_step for link in chosen.links if link.sender == stage.name}.values())
            ),
        )
        for stage in chosen.stages
    ]
    say(table("", ("stage", "worker", "-operators", "-computes", "-holds", "-sends per step"), rows))
