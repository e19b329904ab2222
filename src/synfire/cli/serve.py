"""`synfire serve`: models on workers behind a gateway, until told to stop."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import shlex
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
import uvloop

from synfire.base import paths
from synfire.base.errors import TemporaryError, UnknownName, UserError
from synfire.base.keys import VARIABLE, authorization
from synfire.base.log import LOGGER
from synfire.base.processes import born
from synfire.cli import runs
from synfire.cli.entry import Terminated
from synfire.cli.models import Accept, AcceptOption, AllowOption, DiscretisationOption, DtOption, Reading, find_all
from synfire.cli.options import ApartOption, DeviceOption, Granularity, GranularityOption, MemoryOption, WorkersOption
from synfire.cli.output import ERRORS, AsJson, counted, print_json, say
from synfire.cli.plan import predicted
from synfire.deploy.network import MOST_HOSTS
from synfire.deploy.planning import DEVICE, Planned, plan_models
from synfire.deploy.roles.serving import Supervised, supervised
from synfire.deploy.serving import Listening
from synfire.deploy.settings import Settings
from synfire.gateway.server import until_signal
from synfire.ops import Array
from synfire.plan.costs import parse_bytes
from synfire.store.files import write_atomically
from synfire.wire import oip
from synfire.wire.client import batch_first
from synfire.zoo import sample

AGAIN_S = 1.0
"""How long until the deployment's record is written again that could not be."""

INLINE_CHARACTERS = 1200
"""A request up to this length is part of the curl line; a longer one goes to a file beside the deployment's record."""


def serve(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="Models as for `show`; NAME=MODEL serves one by that name.")
    ],
    granularity: GranularityOption = Granularity.AUTO,
    workers: WorkersOption = 2,
    apart: ApartOption = False,
    memory: MemoryOption = None,
    device: DeviceOption = DEVICE,
    discretisation: DiscretisationOption = None,
    dt_s: DtOption = None,
    allow: AllowOption = None,
    accept: AcceptOption = Accept.TENSOR,
    host: Annotated[str, typer.Option("--host", help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="HTTP port; 0 finds a free one.")] = 8000,
    grpc_port: Annotated[
        int, typer.Option("--grpc-port", min=-1, max=65535, help="gRPC port; 0 finds a free one, -1 leaves gRPC out.")
    ] = 8001,
    spares: Annotated[
        int, typer.Option("--spares", min=0, max=64, help="Warm workers kept ready to take over from lost ones.")
    ] = 0,
    most_workers: Annotated[
        int | None,
        typer.Option(
            "--most-workers", min=1, help="How many workers may run at a time, spares included. Default: any."
        ),
    ] = None,
    priority: Annotated[
        list[str] | None,
        typer.Option(
            "--priority",
            metavar="MODEL=N",
            help="When workers are lost and there is no room for all, models with the lowest N are stopped first. Default: 0.",
        ),
    ] = None,
    hosts: Annotated[
        int,
        typer.Option(
            "--hosts",
            min=0,
            max=MOST_HOSTS,
            help="Put workers on so many emulated hosts: network namespaces, for `fault link-partition`. Takes root.",
        ),
    ] = 0,
    gateways: Annotated[
        int, typer.Option("--gateways", min=1, max=16, help="How many processes answer callers, all at the same ports.")
    ] = 1,
    service: Annotated[
        list[str] | None,
        typer.Option(
            "--service",
            metavar="MODEL.STAGE=URL",
            help="A stage, as `plan` names it, that the model at URL computes: any Open Inference Protocol server's.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Serve models until Ctrl-C or SIGTERM; accepted requests are answered first.

    A worker that dies is replaced, by a spare where there is one (in milliseconds), else by a new process; requests that
    it held are computed again, and answered as if nothing had been. With --json one line is printed when ready: url, grpc,
    metrics, pid, workers.

    \b
    Examples:
      synfire serve svgg-digits
      synfire serve svgg-digits sresnet-digits --granularity operator --workers 2 --port 0
      synfire serve net=./my-bundle --json
      synfire serve net.nir --discretisation norse --dt-s 0.0001
      synfire serve svgg-mnist --accept image
      synfire serve svgg-digits srnn-digits --spares 1
      synfire serve svgg-digits srnn-digits --memory 350kB --most-workers 2 --priority svgg-digits=9
      synfire serve svgg-digits --spares 1 --hosts 3
      synfire serve svgg-mnist --device darwin3
    """
    listening = Listening(host, port, None if grpc_port < 0 else grpc_port)
    planned = plan_models(
        find_all(models, Reading(discretisation, dt_s, allow, accept)), granularity, workers, memory, apart, device
    )
    services = services_of(service or (), planned)
    settings = Settings(
        spares=spares,
        memory_bytes=parse_bytes(memory) if memory else None,
        most_workers=most_workers,
        priorities=priorities_of(priority or (), planned),
        hosts=hosts,
    )
    _check_room(settings, planned)
    uvloop.run(_serve(planned, listening, services, settings, gateways, as_json))


def priorities_of(given: Sequence[str], planned: Sequence[Planned]) -> dict[str, int]:
    """`MODEL=N` as numbers by model. Raises `UserError` for another form, `UnknownName` for another model."""
    models = [each.model.name for each in planned]
    found: dict[str, int] = {}
    for each in given:
        model, _, number = each.rpartition("=")
        if not re.fullmatch(r"-?[0-9]{1,9}", number):
            raise UserError(f"--priority {each} is not MODEL=N, such as {models[0]}=1; N is a whole number")
        if model not in models:
            raise UnknownName.among("model", model, models)
        if model in found:
            raise UserError(f"--priority names model {model} twice; give it one")
        found[model] = int(number)
    return found


def _check_room(settings: Settings, planned: Sequence[Planned]) -> None:
    """Raise `UserError` when more workers would run from the start than may."""
    wanted = len({worker for each in planned for worker in each.plan.workers}) + settings.spares
    if settings.most_workers is not None and wanted > settings.most_workers:
        raise UserError(
            f"the plans take {wanted - settings.spares} workers and there are {settings.spares} spares: that is more than "
            f"--most-workers {settings.most_workers}; allow {wanted}, or ask for fewer with --workers and --spares"
        )


def services_of(given: Sequence[str], planned: Sequence[Planned]) -> dict[str, dict[str, str]]:
    """`MODEL.STAGE=URL` as URLs by model and stage. Raises `UserError` for another form, `UnknownName` for another stage."""
    stages = {
        f"{each.model.name}.{stage.name}": (each.model.name, stage.name)
        for each in planned
        for stage in each.plan.stages
    }
    found: dict[str, dict[str, str]] = {}
    for each in given:
        name, _, url = each.partition("=")
        if not url.startswith(("http://", "https://")):
            raise UserError(f"--service {each} is not MODEL.STAGE=URL, such as net.fc1=http://host:8000/v2/models/fc1")
        if name not in stages:
            raise UnknownName.among("stage", name, stages)
        model, stage = stages[name]
        if stage in found.setdefault(model, {}):
            raise UserError(f"--service names stage {name} twice; one service computes a stage")
        found[model][stage] = url
    return found


async def _serve(
    planned: tuple[Planned, ...],
    listening: Listening,
    services: Mapping[str, Mapping[str, str]],
    settings: Settings,
    gateways: int,
    as_json: bool,
) -> None:
    with _ended_by_sigterm():
        async with supervised(planned, listening, settings, services, gateways) as running:
            book = _Book(running, settings)
            try:
                _announce(planned, book.write(), as_json)
                running.supervisor.on_change(book.renew)
                await until_signal()
                if not as_json:
                    ERRORS.print("stopping: accepted requests are answered first")
            finally:
                book.close()


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM leaves the block as Ctrl-C does, by cancelling it, until `until_signal` takes both over."""
    loop, task, told = asyncio.get_running_loop(), asyncio.current_task(), asyncio.Event()

    def end() -> None:
        told.set()
        if task is not None:
            task.cancel()

    loop.add_signal_handler(signal.SIGTERM, end)
    try:
        yield
    except asyncio.CancelledError as error:
        if told.is_set():
            raise Terminated from error
        raise


class _Book:
    """The deployment's record for `ps`, `stop` and `fault`, written anew whenever it has changed."""

    def __init__(self, running: Supervised, settings: Settings) -> None:
        self._running = running
        self._settings = settings
        self._written: runs.Run | None = None
        self._closed = False

    def write(self) -> runs.Run:
        """Write it down, and return it. Raises what stands against it."""
        run = self._present()
        if run != self._written:
            runs.register(run)
            self._written = run
        return run

    def renew(self) -> None:
        """Write it down, or, where the disk is full for now, try again a little later: who has changed something must not fail for it."""
        if self._closed:
            return
        try:
            self.write()
        except TemporaryError as error:
            LOGGER.warning("`synfire ps` does not tell the latest: %s", error)
            asyncio.get_running_loop().call_later(AGAIN_S, self.renew)

    def close(self) -> None:
        """The deployment ends."""
        self._closed = True
        self._running.supervisor.on_change(lambda: None)
        if self._written is not None:
            runs.forget(self._written.id)

    def _present(self) -> runs.Run:
        addresses, supervisor = self._running.addresses, self._running.supervisor
        standing, urls = supervisor.standing, supervisor.urls
        return runs.Run(
            id=addresses.url.rpartition(":")[2],
            url=addresses.url,
            grpc=addresses.grpc,
            metrics=addresses.metrics,
            pid=os.getpid(),
            born=born(os.getpid()),
            workers=tuple(
                runs.RunWorker(
                    name, said.pid, said.http, born(said.pid), said.addresses[0], standing.hosts.get(name, "")
                )
                for name, worker in sorted(supervisor.workers.items())
                if (said := worker.announcement) is not None
            ),
            deployment=supervisor.deployment,
            models=tuple(
                runs.RunModel(
                    plan.model,
                    standing.sources.get(plan.model, ""),
                    plan.to_json(),
                    self._settings.priorities.get(plan.model, 0),
                )
                for plan in standing.plans
            ),
            roles=tuple(
                runs.RunRole(name, role.process.pid, born(role.process.pid), urls.get(name, ""))
                for name, role in supervisor.roles.items()
            ),
        )


def _announce(planned: tuple[Planned, ...], run: runs.Run, as_json: bool) -> None:
    if as_json:
        workers: list[dict[str, Any]] = [{"name": each.name, "pid": each.pid, "url": each.url} for each in run.workers]
        print_json({"url": run.url, "grpc": run.grpc, "metrics": run.metrics, "pid": run.pid, "workers": workers})
        return
    for each in planned:
        plan = each.plan
        say(f"{plan.model}: {counted(len(plan.stages), 'stage')} on {', '.join(plan.workers)}, {predicted(plan)}")
    say(f"serving at {run.url}" + (f", gRPC at {run.grpc}" if run.grpc else "") + f", metrics at {run.metrics}")
    say(f"try it:\n{curl(planned[0], run)}")


def curl(planned: Planned, run: runs.Run) -> str:
    """A curl line that works as pasted: it asks the model with a sample that fits its inputs.

    A key is left to the shell, where `SYNFIRE_API_KEY` is set too: what is printed may be logged.
    """
    tensors = batch_first(planned.graph.inputs, sample(planned.graph))
    body = json.dumps({"inputs": [_tensor(name, array) for name, array in tensors.items()]}, separators=(",", ":"))
    key = f' -H "Authorization: Bearer ${{{VARIABLE}%%,*}}"' if authorization() else ""
    start = f"curl -s {run.url}/v2/models/{planned.model.name}/infer{key} -H 'Content-Type: application/json'"
    if len(body) > INLINE_CHARACTERS:
        file = paths.home() / "run" / f"{run.id}.request"
        write_atomically(file, body.encode())
        return f"{start} -d @{shlex.quote(str(file))}"
    return f"{start} -d {shlex.quote(body)}"


def _tensor(name: str, array: Array) -> dict[str, Any]:
    """A tensor as the protocol's JSON has it; files go in base64."""
    head = {"name": name, "shape": list(array.shape), "datatype": oip.datatype_of(array.dtype)}
    if array.dtype != object:
        return {
            **head,
            "data": [round(each, 4) if isinstance(each, float) else each for each in array.ravel().tolist()],
        }
    data = [base64.b64encode(each).decode() for each in array.ravel()]
    return {**head, "parameters": {"content_type": "base64"}, "data": data}
