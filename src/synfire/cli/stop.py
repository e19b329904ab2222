"""`synfire stop`: end a deployment, after it has answered what it accepted; or unload one model of the store."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from synfire.base.errors import TemporaryError
from synfire.cli import runs
from synfire.cli.ollama_client import OllamaClient
from synfire.cli.output import AsJson, print_json, say
from synfire.store.names import LATEST

LOOK_S = 0.1
"""How often it is looked whether a model is gone."""


def stop(
    deployment: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID|MODEL]",
            help="A deployment as `ps` shows it; may be left out where only one runs. Or a model of the store that is loaded.",
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Stop all deployments.")] = False,
    timeout_s: Annotated[float, typer.Option("--timeout-s", help="How long to wait for accepted requests.")] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Stop a deployment: no new requests, accepted ones are answered, then its processes end. Or unload a model of the store.

    \b
    Examples:
      synfire stop
      synfire stop 8000
      synfire stop shake:q8
      synfire stop --all --json
    """
    with_model = [] if everything or deployment is None else _with_model(deployment)
    if with_model and deployment is not None:
        for run in with_model:
            _unload(run, deployment, timeout_s)
        _tell_unloaded(deployment, with_model, as_json)
        return
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


def _with_model(name: str) -> list[runs.Run]:
    """The deployments that have loaded a model of this name; none where it is the id of one."""
    found = runs.running()
    if name in {run.id for run in found}:
        return []
    spoken = name.removesuffix(f":{LATEST}")
    return [run for run in found if run.store and spoken in {each.name for each in run.models}]


def _unload(run: runs.Run, model: str, timeout_s: float) -> None:
    """Unload a model, and wait until it is gone. Raises `TemporaryError` for one that stays."""
    name = model if ":" in model.rpartition("/")[2] else f"{model}:{LATEST}"
    until_s = time.monotonic() + timeout_s
    with OllamaClient(run.url) as client:
        client.load(model, 0)
        while name in {each.name for each in client.loaded()}:
            if time.monotonic() > until_s:
                raise TemporaryError(
                    f"{model} is still there after {timeout_s:.0f} s: somebody calls it, or deployment {run.id} was started with it; "
                    f"wait, or stop that: synfire stop {run.id}"
                )
            time.sleep(LOOK_S)


def _tell_unloaded(model: str, found: list[runs.Run], as_json: bool) -> None:
    if as_json:
        print_json({"unloaded": model, "deployments": [run.id for run in found]})
        return
    for run in found:
        say(f"unloaded {model} at {run.id} ({run.url})")
