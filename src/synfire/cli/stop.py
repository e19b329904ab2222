"""`synfire stop`: end a deployment, after it has answered what it accepted."""

from __future__ import annotations

from typing import Annotated

import typer

from synfire.cli import runs
from synfire.cli.output import AsJson, print_json, say


def stop(
    deployment: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="As `ps` shows it; may be left out where only one runs.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Stop all deployments.")] = False,
    timeout_s: Annotated[float, typer.Option("--timeout-s", help="How long to wait for accepted requests.")] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Stop a deployment: no new requests, accepted ones are answered, then its processes end.

    \b
    Examples:
      synfire stop
      synfire stop 8000
      synfire stop --all --json
    """
    chosen = runs.running() if everything else (runs.one(deployment, "stop ID, or stop --all"),)
    for run in chosen:
        runs.terminate(run, timeout_s)
    if as_json:
        print_json({"stopped": [run.id for run in chosen]})
        return
    for run in chosen:
        say(f"stopped {run.id} ({run.url})")
    if not chosen:
        say("no deployment is running")
