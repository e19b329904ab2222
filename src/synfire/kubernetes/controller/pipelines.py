"""Pipelines: chains that the deployment is asked to serve."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from synfire.base.errors import UserError
from synfire.chains.reading import chain_of
from synfire.kubernetes.controller.conditions import condition
from synfire.kubernetes.controller.decision import Action, Ask
from synfire.kubernetes.controller.deployment import PutChain
from synfire.kubernetes.controller.objects import digest_of, key_of
from synfire.kubernetes.controller.observed import Key, Observed
from synfire.kubernetes.controller.reading import Asked
from synfire.kubernetes.controller.serving import url_of
from synfire.kubernetes.resources import Condition, PipelineSpec, PipelineStatus
from synfire.kubernetes.resources.status import Phase


def served_name(found: Asked[PipelineSpec]) -> str:
    """What callers call it."""
    return (found.spec.served_name if found.spec is not None else "") or found.name


def content_of(spec: PipelineSpec) -> dict[str, Any]:
    """The chain as its file would have it."""
    more = {"description": spec.description, "inputs": spec.inputs}
    return {"steps": spec.steps, "outputs": spec.outputs} | {name: value for name, value in more.items() if value}


def mistake(found: Asked[PipelineSpec], names: Mapping[str, Key]) -> tuple[str, str]:
    """What is wrong with what was asked for: one word, and the words; two empty ones where nothing is."""
    if found.spec is None:
        return "InvalidSpec", found.mistake
    name = served_name(found)
    if names.get(name, key := key_of(found.document)) != key:
        return "NameTaken", f"{names[name]} is served as {name} already; give this one another servedName"
    try:
        chain_of(content_of(found.spec), name)
    except UserError as error:
        return "InvalidChain", str(error)
    return "", ""


def calls(found: Asked[PipelineSpec], observed: Observed) -> Iterator[Action]:
    """What the deployment has to be asked, so that it serves a chain whose spec is right."""
    assert observed.deployed is not None
    assert found.spec is not None
    key, name, content = key_of(found.document), served_name(found), content_of(found.spec)
    refusal, told = observed.refusals.get(key), observed.deployed.chains.get(name)
    if refusal is not None and refusal.digest == digest_of(content):
        return
    if told is None or dict(told.chain) != content:
        yield Ask(PutChain(name, content), key)


def status(
    found: Asked[PipelineSpec],
    observed: Observed,
    wrong: tuple[str, str],
    pending: tuple[str, str],
    names: Collection[str],
) -> PipelineStatus:
    """What the user of a pipeline is told. `names` are those that are to be served in the namespace."""
    name = served_name(found)
    models: tuple[str, ...] = ()
    if found.spec is not None and not wrong[0]:
        chain = chain_of(content_of(found.spec), name)
        models = tuple(dict.fromkeys(model for step in chain.steps for model in step.models))
    phase, conditions = _state(found, observed, wrong, pending, [each for each in models if each not in names])
    url = "" if wrong[0] else url_of(observed.namespace, name)
    return PipelineStatus(phase=phase, conditions=conditions, served_name=name, url=url, models=models)


def _state(
    found: Asked[PipelineSpec],
    observed: Observed,
    wrong: tuple[str, str],
    pending: tuple[str, str],
    unknown: Sequence[str],
) -> tuple[Phase, tuple[Condition, ...]]:
    reason, message = wrong
    if reason or found.spec is None:
        return _failed(reason, message)
    content = content_of(found.spec)
    refusal = observed.refusals.get(key_of(found.document))
    if refusal is not None and refusal.digest == digest_of(content):
        return _failed(refusal.reason, refusal.message)
    accepted = condition("Accepted", True, "Accepted")
    if pending[0]:
        return "Pending", (accepted, condition("Ready", False, *pending))
    told = observed.deployed.chains.get(served_name(found)) if observed.deployed else None
    if told is None or dict(told.chain) != content:
        return "Loading", (accepted, condition("Ready", False, "Loading", "the deployment has been asked for it"))
    if told.failed:
        return _failed("InvalidChain", told.reason)
    if told.ready:
        return "Ready", (accepted, condition("Ready", True, "Served", told.reason))
    if unknown:
        words = f"no SynfireModel of this namespace is served as {', '.join(unknown)}; make one, or call another one: {told.reason}"
        return "Pending", (accepted, condition("Ready", False, "NoModel", words))
    return "Pending", (accepted, condition("Ready", False, "ModelsNotReady", told.reason))


def _failed(reason: str, message: str) -> tuple[Phase, tuple[Condition, ...]]:
    """It does not make sense, or does not fit the models that it calls."""
    return "Failed", (condition("Accepted", False, reason, message), condition("Ready", False, reason, message))
