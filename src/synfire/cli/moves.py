"""`synfire drain`, `rebalance`, `upgrade`: planned moves in a running deployment. No call notices them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from synfire.cli import runs
from synfire.cli.output import AsJson, counted, print_json, say, table
from synfire.control.order import Order, OrderKind
from synfire.deploy.door import NAME, ask
from synfire.deploy.folders import folder_of
from synfire.plan.costs import format_seconds
from synfire.wire.messages import Move

DeploymentOption = Annotated[
    str | None, typer.Option("--id", metavar="ID", help="As `ps` shows it; may be left out where only one runs.")
]
TimeoutOption = Annotated[
    float, typer.Option("--timeout-s", min=0.1, help="How long to wait for the end; the order goes on after that.")
]


def drain(
    worker: Annotated[str, typer.Argument(metavar="WORKER", help="A worker as `ps` shows it.")],
    deployment: DeploymentOption = None,
    timeout_s: TimeoutOption = 120.0,
    as_json: AsJson = False,
) -> None:
    """Have everything leave a worker, then end it: its stages go to a spare, or to other workers that have room.

    No call fails, and sessions go on with the same bits. Without room, nothing is changed, and the command says so.

    \b
    Examples:
      synfire drain worker-1
      synfire drain worker-1 --id 8000 --json
    """
    _carry_out("drain", worker, deployment, timeout_s, as_json)


def rebalance(deployment: DeploymentOption = None, timeout_s: TimeoutOption = 120.0, as_json: AsJson = False) -> None:
    """Spread all stages evenly again, as after losses that had survivors double up, over as many workers as at first.

    Workers that are missing are started. Stages that an unlike device has taken over return to theirs, where there is one. How busy each worker is then is told, and why nothing (more) is moved.

    \b
    Examples:
      synfire rebalance
      synfire rebalance --json
    """
    _carry_out("rebalance", "", deployment, timeout_s, as_json)


def upgrade(deployment: DeploymentOption = None, timeout_s: TimeoutOption = 600.0, as_json: AsJson = False) -> None:
    """Replace every worker by a fresh process, as after installing another version: one after the other.

    A fresh worker is there, with every stage built, before an old one goes: there are always as many spares as wanted. Workers that have joined
    from other machines are replaced there, by what is installed there. Where that cannot be the order ends, with the reason, and nobody goes.

    \b
    Examples:
      synfire upgrade
      synfire upgrade --id 8000 --json
    """
    _carry_out("upgrade", "", deployment, timeout_s, as_json)


def _carry_out(kind: OrderKind, worker: str, deployment: str | None, timeout_s: float, as_json: bool) -> None:
    run = runs.one(deployment)
    address = f"unix:{folder_of(run.deployment) / NAME}"
    order = msgspec.json.decode(ask(address, run.deployment, Move(kind, worker), timeout_s), type=Order)
    if as_json:
        print_json({"deployment": run.id, **_plain(order)})
    else:
        _print(order)


def _plain(order: Order) -> dict[str, Any]:
    moved = [{"model": each.model, "stage": each.stage, "from": each.source, "to": each.target} for each in order.moved]
    told = {"order": order.kind, "moved": moved, "ended": list(order.retired), "took_s": order.took_s}
    if order.kind == "upgrade":
        return {**told, "remarks": list(order.remarks)}
    if order.kind != "rebalance":
        return told
    return {**told, "loads_s": dict(order.loads), "remarks": list(order.remarks)}


def _print(order: Order) -> None:
    if order.moved:
        rows = [(f"{each.model}.{each.stage}", each.source, each.target) for each in order.moved]
        say(table("", ("stage", "from", "to"), rows))
    ended = f", {', '.join(order.retired)} ended" if order.retired else ""
    took = f", in {format_seconds(order.took_s)}" if order.took_s else ""
    say(f"{order.kind}: {counted(len(order.moved), 'stage')} moved{ended}{took}")
    if order.loads:
        shares = ", ".join(f"{worker} {format_seconds(load_s)}" for worker, load_s in order.loads)
        say(f"  · predicted for a request of each model: {shares}")
    for remark in order.remarks:
        say(f"  · {remark}")
