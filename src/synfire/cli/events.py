"""`synfire events`: which recoveries there were."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
import typer

from synfire.base import paths
from synfire.cli.output import AsJson, print_json, say
from synfire.control.record import RecoveryLog
from synfire.plan.costs import format_bytes, format_seconds
from synfire.wire.recovery import Moved, RecoveryRecord


def events(
    last: Annotated[int, typer.Option("--last", min=1, max=1_000_000, help="How many of the newest to show.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the recoveries kept under this SYNFIRE_HOME: what failed, who took over, and how long each step took.

    The newest stands last. Those of several deployments are told apart by the deployment's name, in the second column.
    Sessions are restored with their next call: the step `restore` says how long the gateways took to see to that.

    \b
    Examples:
      synfire events
      synfire events --last 3 --json
    """
    found = RecoveryLog().recent(last)
    if as_json:
        print_json({"events": [_plain(record) for record in found]})
        return
    if not found:
        say(f"no recovery is on record in {paths.home()}")
    several = len({record.deployment for record in found}) > 1
    for record in found:
        say(_line(record, record.deployment or "unnamed" if several else ""))


def _line(record: RecoveryRecord, deployment: str) -> str:
    """One recovery in one line: when, of which deployment, what, how long, and what had to be carried over."""
    began = datetime.fromtimestamp(record.began_s).isoformat(" ", "milliseconds")
    who = f"· {' → '.join(filter(None, (record.worker, record.spare)))}"
    models = ", ".join(f"{each.model} (epoch {each.epoch_before} → {each.epoch_after})" for each in record.models)
    steps = ", ".join(f"{step.name} {format_seconds(step.duration_s)}" for step in record.steps)
    words = [
        f"{began} ",
        f"{deployment} " if deployment else "",
        f"{record.outcome} in {format_seconds(record.duration_s)}: {record.cause}",
        f"({record.cause.detail})" if record.cause.detail else "",
        who if record.spare or record.worker != record.cause.target else "",
        f"· {models or 'no model'} · {steps} · {record.requests_replayed} replayed,",
        f"{record.sessions_restored} sessions restored, {format_bytes(record.bytes_moved)} moved",
        *(f"· {each.model}.{each.stage} {_way(each)}" for each in record.moved),
        f"· {record.reason}" if record.reason else "",
    ]
    return " ".join(word for word in words if word)


def _way(moved: Moved) -> str:
    """Where a stage went; or where there is one replica more, or less."""
    if not moved.source:
        return f"once more, on {moved.target}"
    return f"from {moved.source} to {moved.target}" if moved.target else f"no longer on {moved.source}"


def _plain(record: RecoveryRecord) -> dict[str, Any]:
    """The record, and what it adds up to."""
    plain: dict[str, Any] = msgspec.to_builtins(record)
    return {**plain, "began_s": record.began_s, "duration_s": record.duration_s}
