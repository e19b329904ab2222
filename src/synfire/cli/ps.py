"""`synfire ps`: what is running."""

from __future__ import annotations

import msgspec

from synfire.cli import runs
from synfire.cli.output import AsJson, print_json, say, table


def ps(as_json: AsJson = False) -> None:
    """List the deployments that run on this machine under this SYNFIRE_HOME.

    \b
    Examples:
      synfire ps
      synfire ps --json
    """
    found = runs.running()
    if as_json:
        print_json({"deployments": [msgspec.to_builtins(run) for run in found]})
        return
    if not found:
        say("no deployment is running; start one with: synfire serve MODEL")
        return
    rows = [
        (
            run.id, run.url, run.pid, model.name, len({stage["worker"] for stage in model.plan["stages"]}),
            len(model.plan["stages"]),
        )
        for run in found
        for model in run.models
    ]  # fmt: skip
    say(table("", ("id", "url", "-pid", "model", "-workers", "-stages"), rows))
