"""What is remembered from one decision to the next, and what is asked for before all else, change nothing of what is decided."""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from world import NOW, resource  # beside this file, which is imported by its path

from synfire.kubernetes.controller.decide import decide, hasten
from synfire.kubernetes.controller.decision import (
    Action,
    Ask,
    Create,
    Delete,
    EnsureSecret,
    MarkPod,
    Replace,
    SetFinalizers,
    SetStatus,
    Tell,
)
from synfire.kubernetes.controller.deployment import Deployed, Hosted, JoinedWorker, Load, ServedModel, Unload
from synfire.kubernetes.controller.memory import Group, Memory
from synfire.kubernetes.controller.objects import key_of
from synfire.kubernetes.controller.observed import Document, Key, Observed, Settings
from synfire.testing.fake_kubernetes import pods_of

WORKERS = ("synfire-hosts-0", "synfire-hosts-1")


class Place:
    """A namespace as data. An object that changes is another one, as in the copies that a controller has."""

    def __init__(self) -> None:
        self.asked: dict[Key, Document] = {}
        self.made: dict[Key, Document] = {}
        self.models: dict[str, ServedModel] = {}
        self.workers = {name: JoinedWorker(name, True, "http://10.0.0.1:8000") for name in WORKERS}
        self.answers = True
        self.has_keys = False
        self._numbers = itertools.count(1)
        self._pods: tuple[Document, ...] = ()

    def put(self, document: Document) -> None:
        """As a user applies it."""
        key = key_of(document)
        known = self.asked.get(key, {"metadata": {"uid": str(next(self._numbers)), "generation": 0}})["metadata"]
        metadata = {**known, **document["metadata"], "generation": known["generation"] + 1}
        status = {"status": self.asked[key]["status"]} if "status" in self.asked.get(key, {}) else {}
        self.asked[key] = {**document, "metadata": metadata, **status}

    def delete(self, key: Key) -> None:
        """As a user deletes it."""
        seen = self.asked[key]
        self.asked[key] = {**seen, "metadata": {**seen["metadata"], "deletionTimestamp": NOW}}
        self._let_go(key)

    def observed(self) -> Observed:
        deployed = Deployed(dict(self.models), workers=self.workers) if self.answers else None
        asked = tuple(self.asked.values())
        return Observed(
            "default", Settings("i"), NOW, asked, self.made, self._pods, deployed=deployed, has_keys=self.has_keys
        )

    def carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Create(document) | Replace(document):
                    metadata = {"uid": str(next(self._numbers)), **document["metadata"]}
                    self.made[key_of(document)] = {**document, "metadata": metadata}
                    if document["metadata"]["name"] == "synfire-hosts" and document["kind"] == "StatefulSet":
                        self._pods = tuple(map(_with_uid, pods_of(document)))
                case Delete(_, key, _):
                    del self.made[key]
                case SetStatus(document) | SetFinalizers(document):
                    self.asked[key_of(document)] = document
                    self._let_go(key_of(document))
                case Ask(Load(model, request), _):
                    stages = tuple(Hosted(f"fc{n}", WORKERS[n], (f"fc{n}",)) for n in range(2))
                    self.models[model] = ServedModel(model, request, "served", "", stages, 1, 1, "cpu")
                case Ask(Unload(model), _):
                    self.models.pop(model, None)
                case EnsureSecret():
                    self.has_keys = True
                case MarkPod(name, labels, annotations):
                    self._pods = tuple(
                        _marked(each, labels, annotations) if each["metadata"]["name"] == name else each
                        for each in self._pods
                    )
                case Tell():
                    pass
                case _:
                    raise AssertionError(f"nobody does {action} here")

    def _let_go(self, key: Key) -> None:
        metadata = self.asked[key]["metadata"]
        if "deletionTimestamp" in metadata and not metadata.get("finalizers"):
            del self.asked[key]
            gone = [
                name
                for name, each in self.made.items()
                if any(owner["uid"] == metadata["uid"] for owner in each["metadata"].get("ownerReferences", ()))
            ]
            for name in gone:
                del self.made[name]


def _with_uid(pod: Document) -> Document:
    return {**pod, "metadata": {"uid": pod["metadata"]["name"], **pod["metadata"]}}


def _marked(pod: Document, labels: dict[str, Any], annotations: dict[str, Any]) -> Document:
    metadata = pod["metadata"]
    told = {**metadata.get("annotations", {}), **annotations}
    told = {name: value for name, value in told.items() if value is not None}
    return {**pod, "metadata": {**metadata, "labels": {**metadata["labels"], **labels}, "annotations": told}}


def changed(place: Place, what: str, number: int) -> None:
    """Something happens to the namespace."""
    model = Key("SynfireModel", f"m{number}")
    match what:
        case "apply":
            place.put(resource("SynfireModel", model.name, source="svgg-digits"))
        case "change":
            place.put(resource("SynfireModel", model.name, source="svgg-digits", priority=number))
        case "twin":
            place.put(resource("SynfireModel", model.name, servedName="m0"))
        case "mistake":
            place.put(resource("SynfireModel", model.name, device="tpu"))
        case "pool":
            place.put(resource("SynfirePool", "hosts", count=2))
        case "delete" if model in place.asked:
            place.delete(model)
        case "meddle" if place.made:
            key = sorted(place.made)[number % len(place.made)]
            place.made[key] = {**place.made[key], "spec": {"replicas": 7}}
        case "lose" if place.made:
            del place.made[sorted(place.made)[number % len(place.made)]]
        case "move" if model.name in place.models:
            known = place.models[model.name]
            place.models[model.name] = replace(
                known, stages=tuple(replace(each, worker=WORKERS[0]) for each in known.stages)
            )
        case "silence":
            place.answers = not place.answers


HAPPENS = st.sampled_from(
    [
        "apply",
        "change",
        "twin",
        "mistake",
        "pool",
        "delete",
        "meddle",
        "lose",
        "move",
        "silence",
        "act",
        "act",
        "hasten",
    ]
)
NAMES = {f"m{number}" for number in range(4)}


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(HAPPENS, st.integers(0, 3)), max_size=25))
def test_a_decision_is_the_same_with_a_memory_and_without(story: list[tuple[str, int]]) -> None:
    place, memory = Place(), Memory()
    for what, number in story:
        observed = place.observed()
        due = decide(observed, memory)
        assert due == decide(observed)
        first = hasten(observed, NAMES, memory)
        assert all(each in due for each in first)
        place.carry_out({"act": due, "hasten": first}.get(what, []))
        changed(place, what, number)
    place.answers = True
    for _ in range(8):
        place.carry_out(decide(place.observed(), memory))
    assert decide(place.observed(), memory) == decide(place.observed()) == []


def test_a_model_is_asked_for_whatever_else_there_is_to_do() -> None:
    place = Place()
    place.put(resource("SynfirePool", "hosts", count=2))
    for number in range(3):
        changed(place, "apply", number)
    found = hasten(place.observed(), {"m1"}, Memory())
    assert [type(each) for each in found] == [SetFinalizers, Ask]
    place.carry_out(found)
    assert set(place.models) == {"m1"}
    assert hasten(place.observed(), {"m1"}, Memory()) == []


def test_nothing_is_hastened_that_is_wrong_or_that_nobody_could_take() -> None:
    place = Place()
    changed(place, "apply", 0)
    changed(place, "twin", 1)
    changed(place, "mistake", 2)
    assert {each.of.name for each in hasten(place.observed(), NAMES, Memory()) if isinstance(each, Ask)} == {"m0"}
    place.answers = False
    assert hasten(place.observed(), NAMES, Memory()) == []


def test_what_is_remembered_goes_with_its_objects() -> None:
    place, memory = Place(), Memory()
    for number in range(4):
        changed(place, "apply", number)
    for _ in range(5):
        place.carry_out(decide(place.observed(), memory))
    before = sum(map(len, (memory._asked, memory._made, memory._settled)))
    for number in range(1, 4):
        place.delete(Key("SynfireModel", f"m{number}"))
    for _ in range(5):
        place.carry_out(decide(place.observed(), memory))
    after = sum(map(len, (memory._asked, memory._made, memory._settled)))
    assert before >= 12
    assert after <= 3


def test_objects_that_are_as_they_should_be_are_not_compared_again() -> None:
    place, memory = Place(), Memory()
    changed(place, "apply", 0)
    for _ in range(5):
        place.carry_out(decide(place.observed(), memory))
    (_, group) = next(iter(memory._made.values()))
    assert isinstance(group, Group)
    assert len(group.right) == 4
    seen = place.made[group.keys[0]]
    assert group.right[0] is seen
    place.made[group.keys[0]] = {**seen, "spec": {}}
    assert [type(each) for each in decide(place.observed(), memory)] == [Replace]
