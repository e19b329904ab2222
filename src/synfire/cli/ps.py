"""`synfire ps`: what is running."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from synfire.cli import runs
from synfire.cli.output import AsJson, print_json, say, table
from synfire.cli.runs import Run


def ps(as_json: AsJson = False) -> None:
    """List the deployments that run on this machine under this SYNFIRE_HOME, and their processes.

    At a gateway's url this gateway alone answers, at the deployment's all do. A worker's url answers for each operator that lives there: URL/v2/models/MODEL.OPERATOR/infer.

    \b
    Examples:
      synfire ps
      synfire ps --json
    """
    found = runs.running()
    if as_json:
        print_json({"deployments": [_plain(run) for run in found]})
        return
    if not found:
        say("no deployment is running; start one with: synfire serve MODEL")
        return
    rows: list[tuple[object, ...]] = [
        (
            run.id, run.url, run.pid, model.name, len({stage["worker"] for stage in model.plan["stages"]}),
            len(model.plan["stages"]), model.priority,
        )
        for run in found
        for model in run.models
    ]  # fmt: skip
    say(table("", ("id", "url", "-pid", "model", "-workers", "-stages", "-priority"), rows))
    say("")
    rows = [row for run in found for row in (*_roles(run), *_workers(run))]
    say(table("", ("id", "process", "-pid", "state", "url", "stages"), rows))


def _roles(run: Run) -> Iterator[tuple[object, ...]]:
    for role in run.roles:
        yield run.id, role.name, role.pid, _state(role.alive), role.url, ""


def _workers(run: Run) -> Iterator[tuple[object, ...]]:
    for worker in run.workers:
        hosted = [
            f"{model.name}.{stage['name']}"
            for model in run.models
            for stage in model.plan["stages"]
            if stage["worker"] == worker.name
        ]
        yield run.id, worker.name, worker.pid, _state(worker.alive), worker.url, ", ".join(hosted)


def _state(alive: bool) -> str:
    return "runs" if alive else "lost"


def _plain(run: Run) -> dict[str, Any]:
    """The record, and for each process whether it lives."""
    plain: dict[str, Any] = msgspec.to_builtins(run)
    alive = {
        kind: [{**msgspec.to_builtins(each), "alive": each.alive} for each in processes]
        for kind, processes in (("workers", run.workers), ("roles", run.roles))
    }
    return {**plain, **alive}
