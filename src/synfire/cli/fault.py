"""`synfire fault`: break something on purpose."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
import typer

from synfire.base.errors import UserError
from synfire.cli import runs
from synfire.cli.output import AsJson, print_json, say, table
from synfire.deploy.faults import FAULTS, TYPED, Act, Options, Process, Scene, inject


def fault(
    kind: Annotated[
        str | None, typer.Argument(metavar="[KIND]", help="A kind of fault; without it they are listed.")
    ] = None,
    target: Annotated[
        str, typer.Argument(metavar="[TARGET]", help="What it hits, such as a worker as `ps` shows it.")
    ] = "",
    deployment: Annotated[
        str | None,
        typer.Option(
            "--id",
            metavar="ID",
            help="As `ps` shows it; may be left out where only one runs. Not for blob-corrupt and disk-full, which hit SYNFIRE_HOME.",
        ),
    ] = None,
    for_s: Annotated[
        float | None,
        typer.Option(
            "--for",
            metavar="SECONDS",
            help="How long it lasts: disk-full, link-delay, link-drop, link-partition, worker-slow, worker-stop.",
        ),
    ] = None,
    share: Annotated[
        float | None,
        typer.Option("--share", help="Of the time, how much a slowed worker still runs (0 to 1): worker-slow."),
    ] = None,
    delay_s: Annotated[
        float | None, typer.Option("--delay", metavar="SECONDS", help="By how much a link is late: link-delay.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            metavar="N",
            help="Draws what TARGET leaves open; else it is random: chip-dead, core-dead, membrane-bit, mesh-link-dead, weight-bit.",
        ),
    ] = None,
    stuck: Annotated[
        bool, typer.Option("--stuck", help="The bit is held for good, and not flipped once: weight-bit.")
    ] = False,
    listed: Annotated[
        bool, typer.Option("--list", help="List all kinds: what each does, and which options it takes.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Inject a fault into a running deployment of this machine, and say what was done to which process, and when.

    Only processes that the deployment's record names are touched. A kind or a target that is not known changes nothing. What was done about it, `synfire events` tells, and `ps` how the models are served since.

    \b
    Examples:
      synfire fault --list
      synfire fault worker-kill worker-0
      synfire fault worker-stop worker-1 --for 2
      synfire fault worker-slow worker-1 --for 5 --share 0.1 --json
      synfire fault host-lost worker-0,worker-1 --id 8000
      synfire fault link-delay worker-0:worker-1 --delay 0.02 --for 5
      synfire fault link-partition host-1 --for 3
      synfire fault core-dead worker-1:3,4
      synfire fault weight-bit worker-1/svgg-digits.features.3..head --seed 7 --stuck
      synfire fault controller-kill
      synfire fault gateway-kill gateway-1
      synfire fault blob-corrupt 3fa9c1
    """
    options = Options(for_s, share, delay_s, seed, stuck or None)
    if listed or kind is None:
        if target or deployment is not None or options.given:
            raise UserError("a list of faults takes no target and no options; leave them out")
        return _list(as_json)
    run = runs.one(deployment) if FAULTS[kind].on == "deployment" else None
    if run is None and deployment is not None:
        raise UserError(f"{kind} is done to what SYNFIRE_HOME keeps, not to one deployment; leave out --id")
    acts: list[Act] = []
    inject(kind, target, scene_of(run) if run else Scene(), options, acts.append if as_json else _say)
    if as_json:
        print_json({"fault": kind, "deployment": run.id if run else None, "acts": msgspec.to_builtins(acts)})
    return None


def scene_of(run: runs.Run) -> Scene:
    """The processes that the deployment's record names."""
    here = [each for each in run.workers if not each.joined]
    workers = {each.name: Process(each.name, each.pid, each.born) for each in here}
    addresses = {each.name: each.address for each in here}
    roles = {each.name: Process(each.name, each.pid, each.born) for each in run.roles}
    return Scene(workers, roles, run.deployment, addresses)


def _say(act: Act) -> None:
    when = datetime.fromtimestamp(act.at_s).isoformat(" ", "milliseconds")
    say(f"{when}  {act.target}{f' (process {act.pid})' if act.pid else ''}: {act.did}")


def _list(as_json: bool) -> None:
    if as_json:
        return print_json({"faults": {name: _about(name) for name in FAULTS}})
    rows = [
        (name, FAULTS[name].target or "none", " ".join(_options(name)), FAULTS[name].about, FAULTS[name].emulates)
        for name in FAULTS
    ]
    return say(table("", ("kind", "target", "options", "what is done", "what it stands for"), rows))


def _options(name: str) -> list[str]:
    """The options that a kind takes, as they are typed."""
    kind = FAULTS[name]
    return [*(["--id"] if kind.on == "deployment" else []), *(TYPED[each] for each in kind.takes if each in TYPED)]


def _about(name: str) -> dict[str, Any]:
    kind = FAULTS[name]
    return {
        "about": kind.about,
        "emulates": kind.emulates,
        "target": kind.target,
        "options": _options(name),
    }
