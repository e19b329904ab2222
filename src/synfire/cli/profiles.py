"""`synfire profiles` and `synfire build`: the ways in which a model can be served here, and how they were measured to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table

from synfire.base import paths
from synfire.base.errors import PermanentError, TemporaryError
from synfire.base.later import Later
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
from synfire.cli.options import MemoryOption, ModelArgument, ProfileOption, WorkersOption
from synfire.cli.output import AsJson, counted, print_json, say, table
from synfire.deploy.profiles import Listed, build_all, choose, listed
from synfire.deploy.samples import forget_samples, keep_samples
from synfire.devices import DEVICES
from synfire.engines.profiles.build import BATCHES, Built, Likeness, known
from synfire.engines.profiles.machine import Machine, free_bytes
from synfire.engines.profiles.offers import Fit, Offer
from synfire.engines.profiles.profile import Profile
from synfire.graph import Graph, flatten
from synfire.graph.passes import simplify
from synfire.plan.costs import format_bytes, format_seconds, parse_bytes
from synfire.store.files import write_atomically
from synfire.zoo import Model

SHOWN = 12
"""Digits of an id that are shown: enough to name a profile by."""

NO_SAMPLES = "none"
"""In place of a file of samples: those that were given are forgotten."""

LEAST_ROOM = 2**20
"""Bytes. What is built takes more: a disk that has no room for these is full."""

_machine_code = Later("synfire.base.machine_code")
"""It loads the compiler, and `serve`, which shares what is here, needs that in its workers alone where all has been built."""


def profiles(
    model: ModelArgument,
    workers: WorkersOption = 2,
    memory: MemoryOption = None,
    discretisation: DiscretisationOption = None,
    dt_s: DtOption = None,
    allow: AllowOption = None,
    accept: AcceptOption = Accept.TENSOR,
    base: BaseOption = None,
    context: ContextOption = None,
    as_json: AsJson = False,
) -> None:
    """List the ways in which a model can be served on this machine: engine, numbers, what it needs, and how it was measured.

    Times are of one call for 1 sample and for 16, without the way to it; requests a second are what the plan is predicted to
    allow. Exact profiles answer with the bits of the reference. Others are as good as their last columns say, measured
    when they were built: the share of right answers, where they are known, beside that of float32; of answers that are float32's;
    and of spikes that both fire. The last one says on what: the file that `build --samples` was given, held-out digits, or made-up inputs.

    \b
    Examples:
      synfire profiles svgg-mnist
      synfire profiles svgg-mnist --memory 300kB --workers 4
      synfire profiles ./my-model
      synfire profiles srnn-digits --json
    """
    (found,) = find_all([model], Reading(discretisation, dt_s, allow, accept, base, context))
    here = listed(found, _machine(workers, memory))
    if as_json:
        found_here = {"model": found.name, "hardware": hardware()}
        print_json(found_here | {"profiles": [_plain(here, each) for each in here.offers]})
        return
    _print(here)


def build(
    model: ModelArgument,
    profile: ProfileOption = None,
    samples: Annotated[
        str | None,
        typer.Option(
            "--samples",
            metavar="FILE",
            help="Measure on the samples in this .npz: an array for each input, the first axis counts samples, and `labels` to tell right "
            "answers by. They are kept for `serve`, `profiles` and `plan`, too; none: forget them.",
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Build every profile that runs here.")] = False,
    must_keep: Annotated[
        bool,
        typer.Option("--must-keep", help="Fail where it cannot be kept: at once where SYNFIRE_CACHE takes nothing."),
    ] = False,
    workers: WorkersOption = 2,
    memory: MemoryOption = None,
    discretisation: DiscretisationOption = None,
    dt_s: DtOption = None,
    allow: AllowOption = None,
    accept: AcceptOption = Accept.TENSOR,
    base: BaseOption = None,
    context: ContextOption = None,
    as_json: AsJson = False,
) -> None:
    """Compile a model for a profile, and measure how fast it is and how well it answers.

    That is done on samples of yours (--samples), else on held-out digits where the model takes digits, else on inputs that are made up.
    What was built is kept under SYNFIRE_CACHE, so that `serve` and `profiles` find it; building it again measures nothing.

    \b
    Examples:
      synfire build svgg-mnist
      synfire build svgg-mnist --all
      synfire build ./my-model --samples ./held-out.npz --all
      synfire build svgg-digits --profile darwin3-int8 --json
    """
    if must_keep:
        _require_room()
    (found,) = find_all([model], Reading(discretisation, dt_s, allow, accept, base, context))
    if samples is not None:
        _give(simplify(flatten(found.graph)), samples)
    here = listed(found, _machine(workers, memory))
    runnable = [each.profile for each in here.offers if each.fit is Fit.RUNNABLE]
    wanted = runnable if every else [choose([here], [each])[found.name] for each in profile or ["auto"]]
    built = build_all(here.graph, wanted)
    if must_keep:
        _require_kept(here, wanted)
    if as_json:
        print_json(
            {
                "model": found.name,
                "measured_on": here.source.words,
                "built": [msgspec.to_builtins(each, str_keys=True) for each in built],
            }
        )
        return
    _print(replace(here, fresh={each.profile: each for each in built}))


def chosen_profiles(
    models: Sequence[Model], wanted: Sequence[str], workers: int, memory: str | None
) -> dict[str, Profile]:
    """The profile that each model is to be served by, by its name."""
    machine = _machine(workers, memory)
    return choose([listed(each, machine) for each in models], wanted)


def _give(graph: Graph, samples: str) -> None:
    if samples == NO_SAMPLES:
        forget_samples(graph)
    else:
        keep_samples(graph, Path(samples))


def _require_room() -> None:
    """Raises `TemporaryError` where the disk of SYNFIRE_CACHE is full, `UserError` where nothing may be written there."""
    probe = paths.cache() / ".room"
    write_atomically(probe, bytes(LEAST_ROOM), lasting=False)
    probe.unlink(missing_ok=True)


def _require_kept(here: Listed, wanted: Sequence[Profile]) -> None:
    """Raises `TemporaryError` where something of what was built is not there for the next."""
    lost = [] if here.graph.whole else [each.name for each in wanted if known(each, here.source) is None]
    if why := _machine_code.unkept() or (
        f"what was measured of {counted(len(lost), 'profile')} is not there" if lost else ""
    ):
        raise TemporaryError(
            f"{here.model.name} is built, and not all of it is kept: {why}; free some of the disk of SYNFIRE_CACHE, {paths.cache()}, or "
            "make it larger"
        )


def _machine(workers: int, memory: str | None) -> Machine:
    return Machine.here(workers, parse_bytes(memory) if memory else None)


def _plain(here: Listed, offer: Offer) -> dict[str, Any]:
    built = here.built(offer.profile)
    return {
        "id": offer.profile.id,
        "name": offer.profile.name,
        "fit": str(offer.fit),
        "remark": offer.remark,
        **{each: getattr(offer.profile, each) for each in ("engine", "format", "device", "exact", "goal", "digest")},
        "requires": msgspec.to_builtins(offer.profile.requires),
        "predicted_requests_s": offer.requests_s or None,
        "measured_on": here.source.words if built else None,
        "built": msgspec.to_builtins(built, str_keys=True) if built else None,
    }


def _print(here: Listed) -> None:
    say(f"{here.model.name} on {', '.join(hardware())}")
    for fit in Fit:
        found = [each for each in here.offers if each.fit is fit]
        if found:
            say(f"\n{fit}")
            measured = fit is Fit.RUNNABLE and not here.graph.whole
            say(_runnable(here, found) if measured else table("", ("id", "profile", "-needs"), map(_named, found)))
        for each in found:
            if each.remark:
                say(f"  · {each.profile.name}: {each.remark}")
    unmeasured = any(each.fit is Fit.RUNNABLE and here.built(each.profile) is None for each in here.offers)
    if unmeasured and not here.graph.whole:
        say(f"\nnot all are measured yet: synfire build {here.model.name} --all")


def hardware() -> list[str]:
    """What this machine has to run models, in words."""
    cpu = DEVICES["cpu"].describe()
    features = [each for each in cpu.features if each in _TELLING]
    found = [f"{cpu.model} ({' '.join(features) or 'no vector instructions'})", counted(cpu.cores, "core")]
    found.append(f"{format_bytes(free_bytes())} of {format_bytes(cpu.memory_bytes)} free")
    try:
        gpu = DEVICES["cuda"].describe()
    except PermanentError as error:
        return [*found, f"no GPU: {error}"]
    return [*found, f"{gpu.model} with {format_bytes(gpu.memory_bytes)}"]


_TELLING = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "asimddp", "bf16", "sve")
"""The instruction sets that the speed of models depends on."""


def _runnable(here: Listed, found: Sequence[Offer]) -> Table:
    times = [f"-{each} at once" for each in BATCHES]
    columns = (
        "id",
        "profile",
        "-needs",
        "exact",
        *times,
        "-predicted/s",
        "-right (float32)",
        "-answers alike",
        "-spikes alike",
        "measured on",
    )
    return table("", columns, (_row(each, here.built(each.profile), here.source.words) for each in found))


def _named(offer: Offer) -> tuple[str, str, str]:
    needed = offer.profile.requires.memory_bytes
    return offer.profile.id[:SHOWN], offer.profile.name, format_bytes(needed) if needed else ""


def _row(offer: Offer, built: Built | None, measured_on: str) -> tuple[str, ...]:
    seconds = built.seconds if built else {}
    return (
        *_named(offer),
        "yes" if offer.profile.exact else "no",
        *(format_seconds(seconds[each]) if each in seconds else "" for each in BATCHES),
        f"{offer.requests_s:,.0f}" if offer.requests_s else "",
        *_likeness(built.likeness if built else None),
        measured_on if built else "",
    )


def _likeness(found: Likeness | None) -> Iterator[str]:
    right = found and found.accuracy is not None and f"{found.accuracy:.1%} ({found.exact_accuracy:.1%})"
    yield right or ""
    for share in (found.answers, found.spikes) if found else (None, None):
        yield "" if share is None else f"{share:.1%}"
