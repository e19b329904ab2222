"""What the controller does next, from what it has seen: a function, without a clock.

It is level-triggered: whatever was done before, and whoever did it, the same observation leads to the same actions; and when all of
them are done, to none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from synfire.kubernetes.controller import caches, models, nodes, pipelines, pools, rollout, serving, stages, traffic
from synfire.kubernetes.controller.conditions import GRANT, NO_DEPLOYMENT, told
from synfire.kubernetes.controller.decision import (
    Action,
    Ask,
    Create,
    Delete,
    EnsureSecret,
    Replace,
    SetFinalizers,
)
from synfire.kubernetes.controller.deployment import DropChain, Told, Unload
from synfire.kubernetes.controller.memory import Group, Memory
from synfire.kubernetes.controller.objects import is_as, is_ours, key_of, merged
from synfire.kubernetes.controller.observed import Document, Key, Observed
from synfire.kubernetes.controller.reading import Asked
from synfire.kubernetes.controller.scaling import Size, sizes
from synfire.kubernetes.controller.troubles import trouble_of, unmade
from synfire.kubernetes.manifests import Description
from synfire.kubernetes.manifests.parts import GATEWAY
from synfire.kubernetes.resources import CacheSpec, ModelSpec, PipelineSpec, PoolSpec

FINALIZER = "synfire.dev/unload"

_KEPT = ("PersistentVolumeClaim",)
"""Kinds of which nothing is deleted because it is wanted no more: what is on a volume goes only with its owner."""

Spec = TypeVar("Spec", bound=msgspec.Struct)
Mistakes = Mapping[Key, tuple[str, str]]


class _Wishes(NamedTuple):
    """What users ask for, by kind."""

    models: tuple[Asked[ModelSpec], ...]
    pools: tuple[Asked[PoolSpec], ...]
    caches: tuple[Asked[CacheSpec], ...]
    pipelines: tuple[Asked[PipelineSpec], ...]


def decide(observed: Observed, memory: Memory | None = None) -> list[Action]:
    """The actions, in the order in which they are done. The `memory` is that of the decision before, if there was one."""
    memory = memory or Memory()
    all_ = _read(observed, memory)
    living = _living(all_)
    wrong = _mistakes(living)
    actions = list(_goodbyes(all_, living, observed, wrong))
    if observed.leaving:
        return actions
    described = memory.same("described", serving.description(observed, _home(living, observed)))
    pending = _pending(living, observed)
    if any(living) and not observed.has_keys:
        actions.append(EnsureSecret(described.secret_name))
    sized = sizes([each for each in living.pools if not _of(wrong, each)[0]], observed)
    changes = list(_changes(_wanted(living, described, observed, wrong, sized, memory), observed))
    waits = rollout.waiting(changes, [rollout.SERVING, *map(pools.set_of, living.pools)], observed)
    actions += rollout.in_turn(changes, waits, observed)
    actions += rollout.unblocked(observed)
    actions += _held([*(each.document for each in living.models), *(each.document for each in living.pipelines)])
    actions += nodes.farewells(observed)
    if observed.deployed is not None:
        actions += nodes.evacuations(observed)
        actions += stages.marks(observed)
    actions += _of_models(living, observed, wrong, pending, memory)
    actions += _of_pipelines(living, observed, wrong, pending)
    for pool in living.pools:
        size = sized.get(pool.name, Size(0))
        status = pools.status(pool, described, observed, _of(wrong, pool), size)
        more = (*rollout.conditions(pools.set_of(pool), waits, observed), *serving.conditions(observed))
        whole = msgspec.structs.replace(status, conditions=(*status.conditions, *more))
        actions += told(pool.document, whole, observed.now)
    for cache in living.caches:
        actions += told(cache.document, caches.status(cache, observed), observed.now)
    asks = any(isinstance(each, Ask) for each in actions)  # whatever there is to ask for comes first
    if observed.deployed is not None and not observed.deployed.told and not asks:
        actions.append(Ask(Told(tuple(sorted(observed.deployed.models))), Key("Deployment", serving.NAME)))
    memory.forget_others(observed.asked)
    return actions


def hasten(observed: Observed, names: Collection[str], memory: Memory) -> list[Action]:
    """Of what `decide` would do, that the deployment is asked for these models: what a user has just asked for does not wait until all that
    is there has been looked at, and written."""
    if observed.leaving or observed.deployed is None:
        return []
    living = _living(_read(observed, memory))
    taken = _names(living)
    due = [each for each in living.models if each.name in names and not models.mistake(each, taken, living.pools)[0]]
    actions = list(_held(each.document for each in due))
    for each in due:
        actions += models.calls(each, observed)
    return actions


def _read(observed: Observed, memory: Memory) -> _Wishes:
    return _Wishes(
        tuple(memory.read(each, ModelSpec) for each in observed.of_kind("SynfireModel")),
        tuple(memory.read(each, PoolSpec) for each in observed.of_kind("SynfirePool")),
        tuple(memory.read(each, CacheSpec) for each in observed.of_kind("SynfireCache")),
        tuple(memory.read(each, PipelineSpec) for each in observed.of_kind("SynfirePipeline")),
    )


def _living(found: _Wishes) -> _Wishes:
    """Without what somebody has deleted."""
    return _Wishes(_staying(found.models), _staying(found.pools), _staying(found.caches), _staying(found.pipelines))


def _staying(found: tuple[Asked[Spec], ...]) -> tuple[Asked[Spec], ...]:
    return tuple(each for each in found if not each.is_going)


def _wanted(
    living: _Wishes,
    described: Description,
    observed: Observed,
    wrong: Mistakes,
    sized: Mapping[str, Size],
    memory: Memory,
) -> Iterator[Group]:
    """All objects that there should be."""
    if not any(living):
        return
    waits = bool(_warming(living, observed))
    shared = (each for each in serving.wanted(described) if each["kind"] != "StatefulSet" or not waits)
    yield Group(_as_it_serves(each, observed) for each in shared)
    for cache in living.caches:
        yield Group(caches.wanted(cache, described, observed))
    claims = {each.name: caches.claim_of(each) for each in living.caches}
    stay = observed.deployed is None or any(reason for reason, _ in wrong.values())
    owned = _by_owner(observed.made) if stay else {}
    for pool in living.pools:
        if _of(wrong, pool)[0] or pool.spec is None:
            yield _kept(pool.document, owned)
        else:
            claim, count = claims.get(pool.spec.cache, ""), sized[pool.name].pods
            yield Group(pools.wanted(pool, described, claim, observed.offers, count))
    addresses = memory.same("addresses", stages.addresses(observed))
    for model in living.models:
        known = observed.deployed.models.get(models.served_name(model)) if observed.deployed else None
        if _of(wrong, model)[0] or model.spec is None or observed.deployed is None:
            yield _kept(model.document, owned)
        elif known is not None and model.spec.stage_services:
            yield stages.wanted(model.document, known, described, addresses, memory)


def _as_it_serves(wanted: Document, observed: Observed) -> Document:
    """While the settings of a namespace cannot be read, its serving Pod stays as it is."""
    if wanted["kind"] != "StatefulSet" or not observed.unsettled:
        return wanted
    return observed.made.get(key_of(wanted), wanted)


def _by_owner(made: Mapping[Key, Document]) -> dict[str, list[Document]]:
    """The objects that were made, by the uid of what they were made for."""
    found: dict[str, list[Document]] = {}
    for each in made.values():
        for owner in each["metadata"].get("ownerReferences", ()):
            found.setdefault(owner["uid"], []).append(each)
    return found


def _kept(owner: Document, owned: Mapping[str, Sequence[Document]]) -> Group:
    """What was made for an object stays as it is while its spec is wrong, or the deployment does not answer: a slip of the pen ends
    nothing that works."""
    found = Group(owned.get(owner["metadata"]["uid"], ()))
    found.right = list(found.documents)
    return found


def _changes(wanted: Iterable[Group], observed: Observed) -> Iterator[Action]:
    """What makes the objects of the namespace those that are wanted."""
    keys: set[Key] = set()
    for group in wanted:
        keys.update(group.keys)
        seen = group.seen(observed.made)
        if seen != group.right:
            found = list(_differences(group, seen))
            if not found:
                group.right = seen
            yield from found
    for key in sorted(observed.made.keys() - keys):
        there = observed.made[key]
        if key.kind not in _KEPT and is_ours(there) and "deletionTimestamp" not in there["metadata"]:
            yield Delete(there["apiVersion"], key, there["metadata"]["uid"])


def _differences(group: Group, seen: Iterable[Document | None]) -> Iterator[Action]:
    """What makes these objects those that are wanted."""
    for wanted, there in zip(group.documents, seen, strict=True):
        if there is None:
            yield Create(wanted)
        elif "deletionTimestamp" not in there["metadata"] and not is_as(wanted, there):
            yield Replace(merged(wanted, there))


def _mistakes(living: _Wishes) -> dict[Key, tuple[str, str]]:
    """What is wrong with what users ask for, by object."""
    names = _names(living)
    found = {key_of(each.document): models.mistake(each, names, living.pools) for each in living.models}
    claims = [each.name for each in living.caches]
    found |= {key_of(each.document): pools.mistake(each, claims) for each in living.pools}
    return found | {key_of(each.document): pipelines.mistake(each, names) for each in living.pipelines}


def _names(living: _Wishes) -> dict[str, Key]:
    """Who has each name that is served: of two that want one, the one that was there first."""
    claimants = [(models.served_name(each), each.document) for each in living.models]
    claimants += [(pipelines.served_name(each), each.document) for each in living.pipelines]
    first: dict[str, Document] = {}
    for name, document in claimants:
        if name not in first or _age(document) < _age(first[name]):
            first[name] = document
    return {name: key_of(document) for name, document in first.items()}


def _age(document: Document) -> tuple[str, str, str]:
    metadata = document["metadata"]
    return metadata.get("creationTimestamp", ""), document["kind"], metadata["name"]


def _home(living: _Wishes, observed: Observed) -> str:
    """The claim on which the deployment keeps its store: the first cache's, if there was one when it began, with room. With another one its
    Pod would be begun anew, and calls would fail."""
    known = [each for each in living.caches if each.spec is not None]
    begun = observed.made.get(Key("StatefulSet", serving.NAME))
    if begun is None:
        return next((caches.claim_of(each) for each in known if caches.takes(each, observed)), "")
    claims = [caches.claim_of(each) for each in known]
    volumes = begun["spec"]["template"]["spec"]["volumes"]
    mounted = [each["persistentVolumeClaim"]["claimName"] for each in volumes if "persistentVolumeClaim" in each]
    return next((each for each in mounted if each in claims), "")


def _warming(living: _Wishes, observed: Observed) -> str:
    """Why the serving Pod is not begun yet: the volume is being filled that it will serve from. One that is there goes on."""
    if Key("StatefulSet", serving.NAME) in observed.made:
        return ""
    for each in living.caches:
        found = caches.status(each, observed)
        if each.spec is not None and each.spec.models and found.phase in ("Pending", "Warming"):
            return f"the deployment begins when SynfireCache {each.name} is warm"
    return ""


def _pending(living: _Wishes, observed: Observed) -> tuple[str, str]:
    """Why the deployment cannot be asked for anything: one word, and the words; two empty ones when it can."""
    if observed.deployed is not None:
        return "", ""
    if observed.unseen:
        return "MissingPermission", f"the controller may not look at everything: {observed.unseen}; {GRANT}"
    refused = serving.refused(observed)
    if refused is not None:
        return refused.reason, f"the serving Pod cannot be made: {refused.message}"
    if warming := _warming(living, observed):
        return NO_DEPLOYMENT, warming
    own = [each for each in observed.pods if nodes.component_of(each) == GATEWAY]
    trouble = trouble_of(own) or (None if own else unmade(Key("StatefulSet", serving.NAME), own, observed))
    if trouble is not None:
        return trouble.reason, f"the serving Pod does not run: {trouble.message}"
    return NO_DEPLOYMENT, observed.silence or "the serving Pod is begun"


def _goodbyes(all_: _Wishes, living: _Wishes, observed: Observed, wrong: Mistakes) -> Iterator[Action]:
    """Models and chains that were deleted are unloaded before their objects go, and get no calls of others then. Where the whole deployment
    goes, nobody waits."""
    whole = observed.leaving or not any(living) or Key("StatefulSet", serving.NAME) not in observed.made
    deployed = observed.deployed
    going = [each for each in all_.models if each.is_going]
    served = {models.served_name(each) for each in living.models} if going else set()
    busy = (
        traffic.taking_part((each for each in living.models if not _of(wrong, each)[0]), observed) if going else set()
    )
    for model in going:
        name = models.served_name(model)
        if whole or name in served or (deployed is not None and name not in deployed.models):
            yield from _released(model.document)
        elif deployed is not None and name not in busy:
            yield from [*traffic.goodbye(model, observed)] or [Ask(Unload(name), key_of(model.document))]
    chained = {pipelines.served_name(each) for each in living.pipelines}
    for pipeline in (each for each in all_.pipelines if each.is_going):
        name = pipelines.served_name(pipeline)
        if whole or name in chained or (deployed is not None and name not in deployed.chains):
            yield from _released(pipeline.document)
        elif deployed is not None:
            yield Ask(DropChain(name), key_of(pipeline.document))


def _released(document: Document) -> Iterator[Action]:
    finalizers = document["metadata"].get("finalizers", [])
    if FINALIZER in finalizers:
        rest = [each for each in finalizers if each != FINALIZER]
        yield SetFinalizers({**document, "metadata": {**document["metadata"], "finalizers": rest}})


def _held(documents: Iterable[Document]) -> Iterator[Action]:
    """Before anything is loaded for an object, it has to wait for us when it goes."""
    for document in documents:
        finalizers = document["metadata"].get("finalizers", [])
        if FINALIZER not in finalizers:
            yield SetFinalizers(
                {**document, "metadata": {**document["metadata"], "finalizers": [*finalizers, FINALIZER]}}
            )


def _of_models(
    living: _Wishes, observed: Observed, wrong: Mistakes, pending: tuple[str, str], memory: Memory
) -> Iterator[Action]:
    """What the deployment is asked for, and what users are told. Where all is as it was when nothing had to be done, nothing has."""
    places, newest = stages.nodes(observed), models.newest(observed)
    refusals = memory.same("refusals", observed.refusals)
    served = {models.served_name(each) for each in living.models}
    for each in living.models:
        name, mistake = models.served_name(each), _of(wrong, each)
        if not _waits(each.document):
            if not mistake[0] and observed.deployed is not None:
                yield from models.calls(each, observed)
            continue
        known = observed.deployed.models.get(name) if observed.deployed is not None else None
        where = {stage.worker: places.get(stage.worker, "") for stage in known.stages} if known is not None else {}
        sharing = None if mistake[0] else traffic.shared(each, observed, served)
        found_from = known, where, refusals, newest.get(name), mistake, pending, sharing
        if memory.is_settled(each.document, found_from):
            continue
        status = traffic.with_traffic(models.status(each, observed, mistake, pending, where, newest), sharing)
        found = list(told(each.document, status, observed.now))
        if not mistake[0] and observed.deployed is not None:
            found = [*models.calls(each, observed), *traffic.calls(each, observed, sharing), *found]
        if not found:
            memory.settle(each.document, found_from)
        yield from found


def _of_pipelines(living: _Wishes, observed: Observed, wrong: Mistakes, pending: tuple[str, str]) -> Iterator[Action]:
    names = _names(living) if living.pipelines else {}
    for each in living.pipelines:
        mistake = _of(wrong, each)
        if not mistake[0] and observed.deployed is not None:
            yield from pipelines.calls(each, observed)
        if _waits(each.document):
            yield from told(each.document, pipelines.status(each, observed, mistake, pending, names), observed.now)


def _waits(document: Document) -> bool:
    """Whether an object waits for us when it goes. Until it does nothing is told of it, which would be said of a version that is being
    replaced; and what is asked for it is asked only when it has come to wait (`Hands.carry_out`)."""
    return FINALIZER in document["metadata"].get("finalizers", ())


def _of(wrong: Mistakes, found: Asked[Spec]) -> tuple[str, str]:
    return wrong.get(key_of(found.document), ("", ""))
