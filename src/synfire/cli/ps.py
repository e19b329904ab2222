"""`synfire ps`: what is running."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from rich.table import Table

from synfire.base.durations import written
from synfire.base.errors import SynfireError
from synfire.base.log import LOGGER
from synfire.cli import runs
from synfire.cli.ollama_client import QUICK_S, Loaded, OllamaClient
from synfire.cli.output import AsJson, counted, print_json, say, table
from synfire.cli.runs import Run, RunWorker
from synfire.plan.costs import format_bytes


def ps(as_json: AsJson = False) -> None:
    """List the deployments that run on this machine under this SYNFIRE_HOME, and their processes.

    Names that answer by a rule are shown with the percentage of calls that each model gets; `synfire traffic` tells more.

    Models of the store that are loaded have their memory, and the time until they are unloaded, if nobody calls them.

    A model's status is served, degraded (an unlike device runs some of it), waiting (its calls wait for a worker that is being started) or stopped (its calls are refused until there is room again). What is not as it should be is told below, with the reason.

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
    say(table("", MODELS, [row for run in found for row in _models(run)]))
    if rules := [row for run in found for row in _rules(run)]:
        say("")
        say(table("", RULES, rules))
    if chains := [
        (run.id, each.name, " → ".join(each.steps), ", ".join(each.models)) for run in found for each in run.chains
    ]:
        say("")
        say(table("", CHAINS, chains))
    if loaded := [row for run in found for row in _loaded(run)]:
        say("")
        say(table("", LOADED, loaded))
    for line in (line for run in found for line in _shortfalls(run)):
        say(line)
    say("")
    say(_processes(found))


LONG_S = 365 * 86400.0
"""From so long on a model stays for good."""

MODELS = ("id", "url", "-pid", "model", "status", "-workers", "-stages", "-priority")
RULES = ("id", "name", "answered by", "shadow")
CHAINS = ("id", "chain", "steps", "models")
LOADED = ("id", "loaded", "-memory", "unloaded in")
PROCESSES = ("id", "process", "-pid", "state", "url", "host", "cores free", "KEPS free", "stages")
_AT_TIMES = ("host", "cores free", "KEPS free")
"""Columns that are there where any process has something to say in them."""


def _models(run: Run) -> Iterator[tuple[object, ...]]:
    for model in run.models:
        stages, status = model.plan["stages"], model.condition.status
        workers = (
            0
            if status == "stopped" or model.condition.away
            else len({stage["worker"] for stage in stages if stage["name"] not in model.condition.resting})
        )
        yield run.id, run.url, run.pid, model.name, status, workers, len(stages), model.priority


def _rules(run: Run) -> Iterator[tuple[object, ...]]:
    """The names that answer by a rule."""
    for each in run.rules:
        yield run.id, each.name, f"{each.words}{each.place}", each.shadow or ""


def _loaded(run: Run) -> Iterator[tuple[object, ...]]:
    """The models that are there because somebody called them."""
    for each in loaded_of(run):
        yield run.id, each.name, format_bytes(each.size), written(each.left_s) if each.left_s < LONG_S else "never"


def loaded_of(run: Run) -> list[Loaded]:
    """What a deployment of the store has loaded; nothing where it does not say."""
    if not run.store:
        return []
    try:
        with OllamaClient(run.url, QUICK_S) as client:
            return client.loaded()
    except SynfireError as error:
        LOGGER.warning("%s: what is loaded is not known: %s", run.id, error)
        return []


def _shortfalls(run: Run) -> Iterator[str]:
    """What is not as it should be, in words."""
    for model in run.models:
        if model.condition.reason:
            yield f"{run.id}: {model.name}: {model.condition.reason}"
    for chain in run.chains:
        if chain.reason:
            yield f"{run.id}: {chain.name}: {chain.reason}"
    if run.spares < run.spares_wanted:
        yield f"{run.id}: {run.spares} of {counted(run.spares_wanted, 'spare')} ready to take over"


def _processes(found: Sequence[Run]) -> Table:
    """Controllers, gateways and workers; the emulated hosts that workers are on, and the cores and events a second that are free of their devices, have
    columns where there are any."""
    rows = [row for run in found for row in (*_roles(run), *_workers(run))]
    shown = [n for n, name in enumerate(PROCESSES) if name not in _AT_TIMES or any(row[n] for row in rows)]
    return table("", [PROCESSES[n] for n in shown], [[row[n] for n in shown] for row in rows])


def _roles(run: Run) -> Iterator[tuple[object, ...]]:
    for role in run.roles:
        yield run.id, role.name, role.pid, _state(role.alive), role.url, "", "", "", ""


def _workers(run: Run) -> Iterator[tuple[object, ...]]:
    for worker in run.workers:
        hosted = [f"{model.name}.{stage}" for model in run.models for stage in model.stages_on(worker.name)]
        process = run.id, worker.name, worker.pid, _state(worker.alive), worker.url, worker.host
        yield *process, _cores(worker), _keps(worker), ", ".join(hosted)


def _cores(worker: RunWorker) -> str:
    """How many cores of its device are free, of how many."""
    if worker.cores is None or worker.free_cores is None:
        return ""
    return f"{worker.free_cores.total} of {worker.cores.total}"


def _keps(worker: RunWorker) -> str:
    """How many thousands of events a second its device has free, of how many."""
    if worker.cores is None or worker.free_cores is None or worker.cores.keps is None:
        return ""
    return f"{worker.free_cores.keps} of {worker.cores.keps}"


def _state(alive: bool) -> str:
    return "runs" if alive else "lost"


def _plain(run: Run) -> dict[str, Any]:
    """The record, and for each process whether it lives."""
    plain: dict[str, Any] = msgspec.to_builtins(run)
    alive = {
        kind: [{**msgspec.to_builtins(each), "alive": each.alive} for each in processes]
        for kind, processes in (("workers", run.workers), ("roles", run.roles))
    }
    loaded = [{"name": each.name, "bytes": each.size, "left_s": each.left_s} for each in loaded_of(run)]
    return {**plain, **alive, **({"loaded": loaded} if run.store else {})}
