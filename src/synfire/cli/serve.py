"""`synfire serve`: models on workers behind a gateway, until told to stop."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

import typer
import uvloop

from synfire.base.durations import parse_duration
from synfire.base.errors import UnknownName, UserError
from synfire.base.signals import until_signal
from synfire.chains import Joined
from synfire.cli import early, nim, runs
from synfire.cli.book import Book
from synfire.cli.chains import as_few, awaited, chains_among, joined
from synfire.cli.curl import curl, curl_chain
from synfire.cli.ending import cancelled_at_sigterm
from synfire.cli.entrance import Entrance, command_of, entrance_of
from synfire.cli.models import (
    Accept,
    AcceptOption,
    AllowOption,
    BaseOption,
    ContextOption,
    DiscretisationOption,
    DtOption,
    Reading,
    find_all,
)
from synfire.cli.options import (
    ApartOption,
    DeviceOption,
    Granularity,
    GranularityOption,
    MemoryOption,
    OwnWorkersOption,
    ProfileOption,
)
from synfire.cli.output import ERRORS, AsJson, counted, print_json, say
from synfire.cli.plan import predicted
from synfire.cli.profiles import chosen_profiles
from synfire.cli.rates import rated
from synfire.cli.replicas import copied, copies_of, replicated
from synfire.cli.repositories import unfolded
from synfire.cli.serve_options import (
    AwaitModelsOption,
    GatewaysOption,
    GrpcPortOption,
    HostOption,
    HostsOption,
    JoinOption,
    JoinTokenFileOption,
    KeepAliveOption,
    MemoryModelOption,
    MemoryModelsOption,
    MostModelsOption,
    MostWorkersOption,
    ParallelOption,
    PortOption,
    PriorityOption,
    RateOption,
    ReplicasOption,
    ServiceOption,
    SparesOption,
    StoreOption,
    ThreadsOption,
    TrafficOption,
    TwiceOption,
    WarmUpOption,
)
from synfire.cli.traffic import rules_of
from synfire.deploy.join.secret import credential_of
from synfire.deploy.listening import Listening
from synfire.deploy.places import plan_places
from synfire.deploy.planning import DEVICE, Planned, plan_models, shared_cores
from synfire.deploy.profiles import build_planned
from synfire.deploy.roles.serving import supervised
from synfire.deploy.settings import Settings, StoreSettings
from synfire.deploy.stage_replicas import replicate_stages
from synfire.deploy.variants import share_stages
from synfire.plan.costs import parse_bytes
from synfire.store import ModelStore
from synfire.store.names import of_replica


def serve(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL]...",
            help="Models as for `show`; NAME=MODEL serves one by that name. None: those of the store, each when it is called.",
        ),
    ] = None,
    granularity: GranularityOption = Granularity.AUTO,
    workers: OwnWorkersOption = 2,
    apart: ApartOption = False,
    memory: MemoryOption = None,
    device: DeviceOption = DEVICE,
    profile: ProfileOption = None,
    discretisation: DiscretisationOption = None,
    dt_s: DtOption = None,
    allow: AllowOption = None,
    accept: AcceptOption = Accept.TENSOR,
    base: BaseOption = None,
    context: ContextOption = None,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8000,
    grpc_port: GrpcPortOption = 8001,
    spares: SparesOption = 0,
    most_workers: MostWorkersOption = None,
    priority: PriorityOption = None,
    replicas: ReplicasOption = None,
    rate: RateOption = None,
    hosts: HostsOption = 0,
    join: JoinOption = None,
    join_token_file: JoinTokenFileOption = None,
    twice: TwiceOption = "devices",
    gateways: GatewaysOption = 1,
    threads: ThreadsOption = None,
    service: ServiceOption = None,
    traffic: TrafficOption = None,
    warm_up: WarmUpOption = 1,
    store: StoreOption = False,
    keep_alive: KeepAliveOption = "5m",
    await_models: AwaitModelsOption = "0",
    memory_models: MemoryModelsOption = None,
    memory_model: MemoryModelOption = None,
    most_models: MostModelsOption = None,
    parallel: ParallelOption = None,
    as_json: AsJson = False,
) -> None:
    """Serve models until Ctrl-C or SIGTERM; accepted requests are answered first.

    A worker that dies is replaced, by a spare where there is one (in milliseconds), else by a new process; requests that
    it held are computed again, and answered as if nothing had been. With --json one line is printed when ready: url, grpc,
    metrics, pid, workers; with --join also join: address, token.

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
      synfire serve svgg-digits --spares 1 --join 7000
      synfire serve svgg-digits -g operator --workers 0 --join 7000
      synfire serve svgg-mnist --device darwin3
      synfire serve svgg-mnist --device darwin3 --rate svgg-mnist=20
      synfire serve svgg-digits srnn-digits --profile throughput
      synfire serve ./my-llama-Q8_0.gguf --profile throughput
      synfire serve ./my-model ./my-adapter --context 2048
      synfire serve net.onnx --spares 1
      synfire serve ./my-llama-Q8_0.gguf --replicas 2
      synfire serve svgg-digits -g operator --workers 4 --replicas svgg-digits.conv2=2
      synfire serve net@1=./old net@2=./new --traffic 'net net@1=90 net@2=10'
      synfire serve --keep-alive 30m --memory-models 8GB
      synfire serve ./chain.toml
      synfire serve ./decide.py ./triton-repository
    """
    listening = Listening(host, port, None if grpc_port < 0 else grpc_port)
    entrance = entrance_of(join, join_token_file, hosts)
    nim.settle(os.environ)
    asked = nim.asked(os.environ)
    references = unfolded(models or asked.models)
    limits = {"--memory-models": memory_models, "--memory-model": memory_model, "--most-models": most_models}
    _check_meant(store or not references, limits)
    if not workers and entrance is None:
        raise UserError(
            "--workers 0 leaves everything to workers that join, and there is no door for them; open one with --join PORT"
        )
    if not workers and most_workers is not None:
        raise UserError(
            "--most-workers is for workers that are begun here, and --workers 0 has none of them; leave one out"
        )
    named = chains_among(references, [each.partition(" ")[0] for each in traffic or ()])
    reading = Reading(discretisation, dt_s, allow, accept, base or asked.base, context)
    found = find_all(named.models, reading, named.wanted_by) if named.models else []
    rules = rules_of(traffic or (), found, store or not references)
    ruled = {each.name: each.heaviest for each in rules}
    asked_s = rated(found, rate or ())
    joints = joined(named.chains, found, ruled)
    if not apart:
        joints, together = as_few(joints, found, ruled, {*copied(found, replicas or ()), *asked_s})
        found += together
    if store:
        found = [each for each in found if each.name not in awaited(named, references)]
        asked_s = rated(found, rate or ())
    for name in nim.without_effect(os.environ):
        ERRORS.print(f"{name} has no effect here; docs/nim.md lists what is understood")
    if profile and device != DEVICE:
        raise UserError(f"--profile {profile[0]} and --device {device} both say what runs the model; leave one out")
    profiles = chosen_profiles(found, profile, workers or 1, memory) if profile else {}
    copies = replicated(found, replicas or ())
    several = copies_of(found, replicas or ()).of_stages([each.name for each in copies])
    rates = {each.name: rate_s for each in copies if (rate_s := asked_s.get(of_replica(each.name)))}
    profiles = {each.name: profiles[of_replica(each.name)] for each in copies if of_replica(each.name) in profiles}
    if workers:
        planned = plan_models(
            copies, granularity, workers, memory, apart, device, profiles, threads=threads, rates=rates
        )
    else:
        planned = plan_places(copies, granularity, None, memory, apart, device, profiles, rates=rates)
    planned = replicate_stages(planned, several, workers or None, memory)
    planned = share_stages(planned, rules, workers) if workers else planned
    if device == DEVICE and workers:
        build_planned(planned, profiles)
    services = services_of(service or (), planned)
    settings = Settings(
        spares=spares,
        memory_bytes=parse_bytes(memory) if memory else None,
        most_workers=most_workers,
        priorities=priorities_of(priority or (), planned, store or not references),
        hosts=hosts,
        begins=workers > 0,
        join=entrance.place if entrance is not None else "",
        twice=twice,
        threads=threads or shared_cores(planned),
        store=store_settings(keep_alive, memory_models, memory_model, most_models, parallel)
        if store or not references
        else None,
        await_models_s=parse_duration(await_models, "--await-models"),
        warm_ups=warm_up,
        traffic=rules,
    )
    _check_room(settings, planned)
    uvloop.run(_serve(planned, joints, listening, services, settings, gateways, entrance, as_json))


def _check_meant(store: bool, limits: Mapping[str, object]) -> None:
    """Raise `UserError` for limits of the store's models where these are not served."""
    idle = [name for name, value in limits.items() if value is not None]
    if idle and not store:
        raise UserError(
            f"{', '.join(idle)} is for models of the store, and none of them is served here; add --store, or leave it out (--memory limits "
            "each worker)"
        )


def store_settings(
    keep_alive: str, memory: str | None, of_each: str | None, most: int | None, parallel: int | None
) -> StoreSettings:
    """How models of the store are served. Raises `UserError` for a time or a size that is none."""
    keep_s = parse_duration(keep_alive, "--keep-alive")
    together, one = (parse_bytes(each) if each else None for each in (memory, of_each))
    return StoreSettings(keep_s, together, one, most, parallel)


def priorities_of(given: Sequence[str], planned: Sequence[Planned], store: bool = False) -> dict[str, int]:
    """`MODEL=N` as numbers by model, those of the `store` among them. Raises `UserError` for another form, `UnknownName` for another
    model."""
    models = list(dict.fromkeys(of_replica(each.model.name) for each in planned))
    stored = [each.name.short for each in ModelStore().names()] if store and given else []
    found: dict[str, int] = {}
    for each in given:
        model, _, number = each.rpartition("=")
        if not re.fullmatch(r"-?[0-9]{1,9}", number):
            example = [*models, *stored, "net"][0]
            raise UserError(f"--priority {each} is not MODEL=N, such as {example}=1; N is a whole number")
        if model not in (*models, *stored):
            raise UnknownName.among("model", model, {*models, *stored})
        if model in found:
            raise UserError(f"--priority names model {model} twice; give it one")
        found[model] = int(number)
    copies = {name: found[of_replica(name)] for each in planned if of_replica(name := each.model.name) in found}
    return {name: number for name, number in found.items() if name in stored} | copies


def _check_room(settings: Settings, planned: Sequence[Planned]) -> None:
    """Raise `UserError` when more workers would run from the start than may."""
    wanted = len({worker for each in planned for worker in each.plan.workers}) + settings.spares
    if settings.most_workers is not None and wanted > settings.most_workers:
        raise UserError(
            f"the plans take {counted(wanted - settings.spares, 'worker')}, with {counted(settings.spares, 'spare')} beside "
            f"them: that is more than --most-workers {settings.most_workers}; allow {wanted}, or ask for fewer with --workers and --spares"
        )


def services_of(given: Sequence[str], planned: Sequence[Planned]) -> dict[str, dict[str, str]]:
    """`MODEL.STAGE=URL` as URLs by model and stage. Raises `UserError` for another form, `UnknownName` for another stage."""
    stages = {
        f"{each.model.name}.{stage.name}": (each.model.name, stage.name)
        for each in planned
        for stage in each.plan.stages
        if not stage.replica_of
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
    chains: Sequence[Joined],
    listening: Listening,
    services: Mapping[str, Mapping[str, str]],
    settings: Settings,
    gateways: int,
    entrance: Entrance | None,
    as_json: bool,
) -> None:
    credential = credential_of(entrance.token) if entrance is not None else None
    with cancelled_at_sigterm(), early.template() as template:
        async with supervised(
            planned,
            listening,
            settings,
            services,
            gateways,
            template,
            chains,
            credential,
            lasts=entrance is not None and entrance.own,
        ) as running:
            book = Book(running, settings, chains)
            try:
                door = running.supervisor.door
                told = entrance.told(door.address) if entrance is not None and door is not None else None
                _announce(planned, chains, book.write(), told, settings.begins, as_json)
                running.supervisor.on_change(book.renew)
                await until_signal()
                if not as_json:
                    ERRORS.print("stopping: accepted requests are answered first")
            finally:
                book.close()


def _announce(
    planned: tuple[Planned, ...],
    chains: Sequence[Joined],
    run: runs.Run,
    join: dict[str, str] | None,
    own: bool,
    as_json: bool,
) -> None:
    """Tell what is served, where, and how others join; `own` says whether workers of this machine host it."""
    if as_json:
        workers: list[dict[str, Any]] = [{"name": each.name, "pid": each.pid, "url": each.url} for each in run.workers]
        told: dict[str, Any] = {
            "url": run.url,
            "grpc": run.grpc,
            "metrics": run.metrics,
            "pid": run.pid,
            "workers": workers,
        }
        print_json(told if join is None else {**told, "join": join})
        return
    for each in planned:
        plan = each.plan
        where = ", ".join(plan.workers) if own else f"{counted(len(plan.workers), 'worker')} that will join"
        say(f"{plan.model}: {counted(len(plan.stages), 'stage')} on {where}, {predicted(plan)}")
    for joint in chains:
        say(f"{joint.chain.name}: chain of {counted(len(joint.order), 'step')}: {' → '.join(joint.order)}")
    say(f"serving at {run.url}" + (f", gRPC at {run.grpc}" if run.grpc else "") + f", metrics at {run.metrics}")
    if join is not None:
        say(f"workers of other machines join with:\n{command_of(join)}")
    if chains:
        say(f"try it:\n{curl_chain(chains[0], planned, run)}")
    elif planned:
        first = replace(planned[0].model, name=of_replica(planned[0].model.name))
        say(f"try it:\n{curl(replace(planned[0], model=first), run)}")
    else:
        say(f"models of the store are loaded when they are called; these are there:\ncurl -s {run.url}/v1/models")
