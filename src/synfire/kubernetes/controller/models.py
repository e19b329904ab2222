"""Models: what the deployment is asked to serve, and what the users of their objects are told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from synfire.base.errors import UserError
from synfire.kubernetes.controller.conditions import condition
from synfire.kubernetes.controller.decision import Action, Ask
from synfire.kubernetes.controller.deployment import Load, Recovered, ServedModel, Unload
from synfire.kubernetes.controller.objects import digest_of, key_of
from synfire.kubernetes.controller.observed import Key, Observed
from synfire.kubernetes.controller.quantities import bytes_of
from synfire.kubernetes.controller.reading import Asked
from synfire.kubernetes.controller.serving import url_of
from synfire.kubernetes.controller.stages import path_of, service_of
from synfire.kubernetes.manifests.description import RESOURCES
from synfire.kubernetes.resources import Condition, ModelSpec, ModelStatus, PoolSpec, Recovery, Stage
from synfire.kubernetes.resources.status import Phase
from synfire.wire.wish import Scale, StageScale, Wish

_OF_STAGES = ("Service", "Endpoints")

LONGEST = 63

ON_ITS_DEVICE = "OnItsDevice"

MOST_STAGES = 256
"""Stages that a status names; it counts the others. An object has to fit into 1 MiB or so."""


def served_name(found: Asked[ModelSpec]) -> str:
    """What callers call it."""
    return (found.spec.served_name if found.spec is not None else "") or found.name


def request_of(found: Asked[ModelSpec]) -> dict[str, Any]:
    """What the deployment is asked for."""
    request: dict[str, Any] = msgspec.to_builtins(_wish_of(found))
    return request


def _wish_of(found: Asked[ModelSpec]) -> Wish:
    spec = found.spec
    assert spec is not None
    given = spec.scale
    scale = Scale(given.most, given.least, given.calls, given.idle_seconds) if given is not None else None
    return Wish(
        source=spec.source or found.name,
        granularity=spec.granularity,
        workers=spec.workers,
        apart=spec.apart,
        device=spec.device,
        profile=spec.profile or None,
        replicas=1 if scale else spec.replicas,
        priority=spec.priority,
        context=spec.context,
        accept=spec.accept,
        memory=str(bytes_of(spec.memory)) if spec.memory else None,
        scale=scale,
        stages={
            name: StageScale(each.most, each.least, msgspec.UNSET if each.idle_seconds is None else each.idle_seconds)
            for name, each in spec.stages.items()
        },
        variant_of=spec.variant_of or msgspec.UNSET,
        rate=msgspec.UNSET if spec.rate is None else float(spec.rate),
    )


def mistake(found: Asked[ModelSpec], names: Mapping[str, Key], pools: Sequence[Asked[PoolSpec]]) -> tuple[str, str]:
    """What is wrong with what was asked for: one word, and the words; two empty ones where nothing is. `names` are served names, by
    who has them."""
    spec, name = found.spec, served_name(found)
    if spec is None:
        return "InvalidSpec", found.mistake
    if len(found.name) > LONGEST:
        return (
            "NameTooLong",
            f"the name has {len(found.name)} characters; a model's has {LONGEST} at the most, make one with a shorter name",
        )
    if names.get(name, key := key_of(found.document)) != key:
        return "NameTaken", f"{names[name]} is served as {name} already; give this one another servedName"
    known = {*RESOURCES, *(each.spec.device for each in pools if each.spec is not None and each.spec.resource)}
    if spec.device not in known:
        return "UnknownDevice", f"there is no device class {spec.device!r}; use one of {', '.join(sorted(known))}"
    if spec.device != "cpu" and spec.device not in (each.spec.device for each in pools if each.spec is not None):
        return "NoPool", f"no SynfirePool of this namespace has the device {spec.device}; make one"
    try:
        _wish_of(found).check(name, (spec.granularity,), known)
    except UserError as error:
        return "InvalidSpec", str(error)
    return "", ""


def calls(found: Asked[ModelSpec], observed: Observed) -> Iterator[Action]:
    """What the deployment has to be asked, so that it serves a model whose spec is right as that says."""
    assert observed.deployed is not None
    assert found.spec is not None
    key, name = key_of(found.document), served_name(found)
    told = observed.deployed.models.get(name)
    if found.spec.replicas == 0 and found.spec.scale is None:
        if told is not None:
            yield Ask(Unload(name), key)
        return
    request = request_of(found)
    refusal = observed.refusals.get(key)
    if refusal is not None and refusal.digest == digest_of(request):
        return
    if told is None or dict(told.request) != request:
        yield Ask(Load(name, request), key)


def newest(observed: Observed) -> dict[str, Recovered]:
    """The last failure that hit each model; moves that somebody asked for are none."""
    found: dict[str, Recovered] = {}
    for each in sorted(observed.deployed.recoveries if observed.deployed else (), key=lambda each: each.at_s):
        if each.outcome != "moved":
            found |= dict.fromkeys(each.models, each)
    return found


def status(
    found: Asked[ModelSpec],
    observed: Observed,
    wrong: tuple[str, str],
    pending: tuple[str, str],
    where: Mapping[str, str],
    recoveries: Mapping[str, Recovered],
) -> ModelStatus:
    """What the user of a model is told. `pending` says why the deployment is not there yet, or does not answer, in one word and in words;
    `where` are the nodes of its workers."""
    name = served_name(found)
    told = observed.deployed.models.get(name) if observed.deployed is not None else None
    phase, conditions = _state(found, told, observed, wrong, pending)
    conditions += _services(found, told, observed) + _on_its_device(found, told)
    if told is None or wrong[0]:
        return ModelStatus(phase=phase, conditions=conditions, served_name=name)
    services = found.spec is not None and found.spec.stage_services
    whole = {each.replica for each in told.stages}
    stages = [
        Stage(
            f"{each.replica}.{each.name}" if len(whole) > 1 else each.name,
            each.worker,
            where.get(each.worker, ""),
            service_of(found.name, each.name) if services else "",
            path_of(each, name),
            each.operators,
        )
        for each in told.stages[:MOST_STAGES]
    ]
    return ModelStatus(
        phase=phase,
        conditions=conditions,
        served_name=name,
        url=url_of(observed.namespace, name),
        replicas=told.replicas,
        replicas_ready=told.replicas_ready,
        profile=told.profile,
        stage_count=len(told.stages),
        stages=tuple(stages),
        last_recovery=_last(recoveries.get(name)),
    )


def _state(
    found: Asked[ModelSpec],
    told: ServedModel | None,
    observed: Observed,
    wrong: tuple[str, str],
    pending: tuple[str, str],
) -> tuple[Phase, tuple[Condition, ...]]:
    reason, message = wrong
    if reason or found.spec is None:
        return "Failed", (condition("Accepted", False, reason, message), condition("Ready", False, reason, message))
    refusal = observed.refusals.get(key_of(found.document))
    if refusal is not None and refusal.digest == digest_of(request_of(found)):
        refused = refusal.reason, refusal.message
        return "Failed", (condition("Accepted", False, *refused), condition("Ready", False, *refused))
    accepted = condition("Accepted", True, "Accepted")
    if pending[0]:
        return "Pending", (accepted, condition("Ready", False, *pending))
    if found.spec.replicas == 0 and found.spec.scale is None:
        return "Unloaded", (
            accepted,
            condition("Ready", False, "Unloaded", "replicas is 0; calls are refused until it is more"),
        )
    if told is None or dict(told.request) != request_of(found):
        return "Loading", (accepted, condition("Ready", False, "Loading", "the deployment has been asked for it"))
    phase, holds, word = _STATES[told.state]
    return phase, (accepted, condition("Ready", holds, word, told.reason))


def _services(found: Asked[ModelSpec], told: ServedModel | None, observed: Observed) -> tuple[Condition, ...]:
    """Why a Service of a stage cannot be made, or not lead there; nothing where all are."""
    if told is None or not observed.refusals:
        return ()
    names = {service_of(found.name, each.name) for each in told.stages}
    refused = [each for key, each in observed.refusals.items() if key.kind in _OF_STAGES and key.name in names]
    return tuple(condition("Services", False, each.reason, each.message) for each in refused[:1])


def _on_its_device(found: Asked[ModelSpec], told: ServedModel | None) -> tuple[Condition, ...]:
    """Whether each stage runs on the device that it was planned for; nothing of a model that processors were meant for all along, and of one that
    is not served."""
    if told is None or found.spec is None:
        return ()
    if told.unlike:
        words = f"{'; '.join(told.unlike)}: no worker has that device free; it goes back by itself when one has"
        return (condition(ON_ITS_DEVICE, False, "OnAnotherDevice", words),)
    known = (each["type"] for each in found.document.get("status", {}).get("conditions", ()))
    if told.state == "served" and (found.spec.device != "cpu" or ON_ITS_DEVICE in known):
        return (condition(ON_ITS_DEVICE, True, "AsPlanned"),)
    return ()


def _last(recovered: Recovered | None) -> Recovery | None:
    if recovered is None:
        return None
    at = datetime.fromtimestamp(recovered.at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Recovery(at, recovered.cause, recovered.outcome, round(recovered.duration_s * 1e3))


_STATES: Mapping[str, tuple[Phase, bool, str]] = {
    "waiting": ("Pending", False, "Waiting"),
    "loading": ("Loading", False, "Loading"),
    "served": ("Ready", True, "Served"),
    "degraded": ("Degraded", True, "Degraded"),
    "stopped": ("Failed", False, "NoRoom"),
    "failed": ("Failed", False, "LoadFailed"),
    "asleep": ("Asleep", True, "Asleep"),
    "leaving": ("Loading", False, "Leaving"),
}
"""What each state of the deployment's is in an object's words: its phase, and whether it is ready."""
