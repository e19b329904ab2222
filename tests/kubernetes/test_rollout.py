"""Pods of a deployment are begun anew one StatefulSet after the other, and never two kinds of them by the controller's doing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from world import NOW, resource  # beside this file, which is imported by its path

from synfire.kubernetes.controller.decide import decide
from synfire.kubernetes.controller.decision import Action, Create, Delete, EnsureSecret, Replace, SetStatus, Tell
from synfire.kubernetes.controller.objects import TEMPLATE
from synfire.kubernetes.controller.observed import MANAGED, Document, Key, Observed, Refusal, Settings
from synfire.testing.fake_kubernetes import FakeKubernetes
from synfire.testing.fake_stateful_sets import FakeStatefulSets

SERVING, SPARES, HOSTS = "synfire", "synfire-spares", "synfire-hosts"
RESTARTED = "kubectl.kubernetes.io/restartedAt"
MADE = {"ConfigMap", "NetworkPolicy", "PodDisruptionBudget", "Service", "ServiceAccount", "StatefulSet"}
MOST = 400


class Place:
    """A namespace with a pool of spares and one of hosts, without a wire to it: rounds of the controller and steps of Kubernetes.

    An image that ends in `bad` cannot be pulled, and a worker joins only where the serving Pod runs with its own image, as of another wire
    version. `rolling` are sets whose Pods are not yet all of the newest template, and ready, since somebody changed it.
    """

    def __init__(self, spares: int = 1, hosts: int = 2) -> None:
        self.server = FakeKubernetes()
        self.sets = FakeStatefulSets(self.server, self._runs)
        self.settings = Settings("synfire:1")
        self.refusals: dict[Key, Refusal] = {}
        self.rolling: list[str] = []
        self._has_keys = False
        self.pool("spares", role="spares", count=spares)
        self.pool("hosts", count=hosts)
        self.settle()
        self.rolling.clear()

    def pool(self, name: str, **spec: Any) -> None:
        """As a user writes it."""
        found = [each for each in self.server.all("synfirepools") if each["metadata"]["name"] == name]
        before = found[0]["spec"] if found else {}
        self.server.put(resource("SynfirePool", name, **{**before, **spec}))

    def observed(self) -> Observed:
        every = [each for (_, plural), found in self.server._objects.items() for each in found.values()]
        made = {Key(each["kind"], each["metadata"]["name"]): each for each in every if _is_made(each)}
        asked = tuple(self.server.all("synfirepools"))
        pods = tuple(self.server.all("pods"))
        return Observed(
            "default", self.settings, NOW, asked, made, pods, refusals=self.refusals, has_keys=self._has_keys
        )

    def round(self) -> list[Action]:
        """One of the controller, of which everything comes to pass."""
        actions = decide(self.observed())
        for each in actions:
            self._carry_out(each)
        return actions

    def step(self) -> bool:
        done = self.sets.step()
        self.rolling = [each for each in self.rolling if not self.is_new(each)]
        return done

    def settle(self) -> None:
        for _ in range(MOST):
            if not self.step() and not self.round():
                return
        raise AssertionError(f"there is no end: {decide(self.observed())}")

    def until(self, holds: Callable[[], bool]) -> None:
        for _ in range(MOST):
            if holds():
                return
            if not self.step():
                self.round()
        raise AssertionError(f"it does not come to that: {decide(self.observed())}")

    def restart(self, name: str, at: str = "now") -> None:
        """`kubectl rollout restart`."""
        found = self.server.get("statefulsets", name)
        found["spec"]["template"]["metadata"].setdefault("annotations", {})[RESTARTED] = at
        self.server.put(found)
        self._note(name)

    def images(self) -> dict[str, set[str]]:
        """What the Pods of each set run."""
        found: dict[str, set[str]] = {}
        for each in self.server.all("pods"):
            stem = each["metadata"]["name"].rpartition("-")[0]
            found.setdefault(stem, set()).add(each["spec"]["containers"][0]["image"])
        return found

    def is_new(self, name: str) -> bool:
        """Whether all Pods of a set are there, of its newest template, and ready."""
        found = self.server.get("statefulsets", name)
        status, wanted = found.get("status", {}), found["spec"]["replicas"]
        counts = [status.get(each) for each in ("replicas", "updatedReplicas", "readyReplicas")]
        return status.get("observedGeneration") == found["metadata"]["generation"] and counts == [wanted] * 3

    def updated(self, pool: str) -> tuple[str, str, str]:
        status = self.server.get("synfirepools", pool)["status"]
        (found,) = (each for each in status["conditions"] if each["type"] == "Updated")
        return found["status"], found["reason"], found.get("message", "")

    def _runs(self, pod: Document) -> bool:
        image = pod["spec"]["containers"][0]["image"]
        joins = [
            each["status"].get("phase") == "Running" and each["spec"]["containers"][0]["image"] == image
            for each in self.server.all("pods")
            if each["metadata"]["name"] == "synfire-0"
        ]
        return not image.endswith("bad") and (pod["metadata"]["name"] == "synfire-0" or any(joins))

    def _carry_out(self, action: Action) -> None:
        match action:
            case Replace(document) if document["kind"] == "StatefulSet":
                name = document["metadata"]["name"]
                if Key("StatefulSet", name) in self.refusals:
                    return
                changed = document["spec"]["template"] != self.server.get("statefulsets", name)["spec"]["template"]
                self.server.put(document)
                if changed:
                    self._note(name)
            case Create(document) | Replace(document) | SetStatus(document):
                self.server.put({**document, "metadata": {"namespace": "default", **document["metadata"]}})
            case Delete(_, key):
                self.server.delete(f"{key.kind.lower()}s", key.name)
            case EnsureSecret():
                self._has_keys = True
            case Tell():
                pass
            case _:
                raise AssertionError(f"nobody does {action} here")

    def _note(self, name: str) -> None:
        if name not in self.rolling:
            self.rolling.append(name)


def _is_made(found: Document) -> bool:
    return found["kind"] in MADE and MANAGED.items() <= found["metadata"].get("labels", {}).items()


def begun(actions: list[Action]) -> list[str]:
    """The sets that get another Pod template."""
    return [
        each.document["metadata"]["name"]
        for each in actions
        if isinstance(each, Replace) and each.document["kind"] == "StatefulSet"
    ]


def test_another_image_comes_to_the_serving_pod_then_to_spares_then_to_hosts() -> None:
    place, order = Place(), []
    place.settings = replace(place.settings, image="synfire:2")
    for _ in range(MOST):
        actions = place.round()
        order += begun(actions)
        assert len(place.rolling) <= 1
        if not place.step() and not actions:
            break
    assert order == [SERVING, SPARES, HOSTS]
    assert place.images() == {each: {"synfire:2"} for each in order}
    assert place.updated("hosts")[:2] == ("True", "RolledOut")


def test_a_pool_whose_turn_has_not_come_says_what_it_waits_for() -> None:
    place = Place()
    place.settings = replace(place.settings, image="synfire:2")
    place.round()
    place.step()
    place.round()
    status, reason, words = place.updated("hosts")
    assert (status, reason) == ("False", "WaitsForRollout")
    assert "they wait for StatefulSet synfire (0 of 1 Pods are new, 1 ready), then StatefulSet synfire-spares;" in words
    assert words.endswith("(`kubectl rollout status statefulset/synfire`)")
    place.until(lambda: place.rolling == [HOSTS])
    place.step()
    place.round()
    assert place.updated("hosts") == ("False", "Rolling", "0 of 2 Pods are new, 2 ready")


CHANGES = st.one_of(
    st.tuples(st.just("image"), st.booleans()),
    st.tuples(st.just("log"), st.just("")),
    st.tuples(st.just("count"), st.sampled_from(["spares", "hosts"])),
    st.tuples(st.just("memory"), st.sampled_from(["spares", "hosts"])),
    st.tuples(st.just("restart"), st.sampled_from([SERVING, SPARES, HOSTS])),
    st.tuples(st.sampled_from(["round", "step", "both", "both"]), st.just("")),
)


def changed(place: Place, what: str, how: Any, number: int) -> None:
    """Something happens to the deployment; each time with a value that there was never before."""
    match what:
        case "image":
            place.settings = replace(place.settings, image=f"synfire:{number}{'bad' * how}")
        case "log":
            place.settings = replace(place.settings, log=f"level-{number}")
        case "count":
            place.pool(how, count=1 + number % 3)
        case "memory":
            place.pool(how, memory=f"{number}Mi")
        case "restart":
            place.restart(how, f"{number}")
        case "step":
            place.step()
        case _:
            watched_round(place)
            if what == "both":
                place.step()


def watched_round(place: Place) -> list[Action]:
    """A round, and whether it has the controller take Pods away beside others that are away. The serving Pod waits for nobody, and what rolls
    is corrected at once."""
    before = set(place.rolling)
    templates = {each: place.server.get("statefulsets", each)["spec"]["template"] for each in (SERVING, SPARES, HOSTS)}
    actions = place.round()
    fresh = [
        each for each, was in templates.items() if place.server.get("statefulsets", each)["spec"]["template"] != was
    ]
    taken = [each for each in fresh if each not in before]
    assert len(taken) <= 1, f"{taken} roll together"
    assert taken in ([], [SERVING]) or not before, f"{taken} rolls beside {before}"
    return actions


@settings(max_examples=40)
@given(changes=st.lists(CHANGES, max_size=20), spares=st.integers(0, 2), hosts=st.integers(1, 3))
def test_whatever_changes_no_two_sets_roll_by_our_doing_and_in_the_end_all_are_as_asked_for(
    changes: list[tuple[str, Any]], spares: int, hosts: int
) -> None:
    place = Place(spares, hosts)
    for number, (what, how) in enumerate(changes):
        changed(place, what, how, 2 + number)
    place.settings = replace(place.settings, image="synfire:last")
    for _ in range(MOST):
        actions = watched_round(place)
        if not place.step() and not actions:
            break
    assert all(images == {"synfire:last"} for images in place.images().values())
    assert all(map(place.is_new, (SERVING, SPARES, HOSTS)))
    assert place.updated("hosts")[0] == "True"


def test_an_image_that_cannot_be_pulled_ends_with_the_serving_pod_and_its_correction_goes_through_at_once() -> None:
    place = Place()
    place.settings = replace(place.settings, image="synfire:bad")
    place.settle()
    assert place.images() == {SERVING: {"synfire:bad"}, SPARES: {"synfire:1"}, HOSTS: {"synfire:1"}}
    _, reason, words = place.updated("hosts")
    assert reason == "WaitsForRollout"
    assert "the image synfire:bad of Pod synfire-0 cannot be pulled" in words
    place.settings = replace(place.settings, image="synfire:1")
    assert begun(place.round()) == [SERVING]
    place.settle()
    assert place.images() == {each: {"synfire:1"} for each in (SERVING, SPARES, HOSTS)}


def test_spares_that_do_not_come_to_run_keep_hosts_as_they_are_until_they_are_corrected() -> None:
    place = Place()
    place.pool("spares", image="other:bad")
    place.settle()
    place.pool("hosts", memory="2Gi")
    place.settle()
    assert place.updated("hosts")[1] == "WaitsForRollout"
    status, reason, words = place.updated("spares")
    assert (status, reason) == ("False", "Rolling")
    assert "the image other:bad of Pod synfire-spares-0 cannot be pulled" in words
    place.pool("hosts", count=3)
    place.settle()
    assert len([each for each in place.server.all("pods") if each["metadata"]["name"].startswith(HOSTS)]) == 3
    assert place.updated("hosts")[1] == "WaitsForRollout"
    place.pool("spares", image="")
    assert begun(place.round()) == [SPARES]
    place.settle()
    assert place.updated("hosts")[1] == "RolledOut"
    limits = place.server.get("pods", "synfire-hosts-2")["spec"]["containers"][0]["resources"]["limits"]
    assert limits["memory"] == "2816Mi"


def test_a_pool_that_has_never_run_and_one_that_lost_a_pod_hold_nobody_up() -> None:
    place = Place()
    place.pool("broken", image="other:bad")
    place.settle()
    pod = place.server.get("pods", "synfire-spares-0")
    place.server.put({**pod, "status": {**pod["status"], "conditions": [{"type": "Ready", "status": "False"}]}})
    place.pool("hosts", memory="2Gi")
    assert begun(place.round()) == [HOSTS]


def test_a_rollout_by_somebody_s_hand_is_waited_for_and_happens_once() -> None:
    place = Place()
    place.restart(SPARES)
    place.pool("hosts", memory="2Gi")
    assert begun(place.round()) == []
    place.step()
    place.round()
    assert place.updated("hosts")[1] == "WaitsForRollout"
    place.settle()
    first = place.server.get("pods", "synfire-spares-0")["metadata"]["uid"]
    assert place.updated("hosts")[1] == "RolledOut"
    place.pool("spares", count=2)
    place.settle()
    template = place.server.get("statefulsets", SPARES)["spec"]["template"]
    assert template["metadata"]["annotations"][RESTARTED] == "now"
    assert place.server.get("pods", "synfire-spares-0")["metadata"]["uid"] == first


def test_a_serving_pod_that_answers_and_is_not_ready_yet_holds_no_worker_up() -> None:
    """Where it serves models of before, it is ready only when workers have joined again: of another wire version these are new ones."""
    place = Place()
    place.settings = replace(place.settings, image="synfire:2")
    place.until(lambda: place.images().get(SERVING) == {"synfire:2"})
    place.round()
    assert begun(place.round()) == []
    pod = place.server.get("pods", "synfire-0")
    status = {"phase": "Running", "containerStatuses": [{"started": True, "ready": False}]}
    place.server.put({**pod, "status": status})
    assert begun(place.round()) == [SPARES]
    assert not place.is_new(SERVING)


def test_a_change_that_kubernetes_refuses_holds_no_other_set_up() -> None:
    place = Place()
    place.refusals[Key("StatefulSet", SERVING)] = Refusal("", "updates to statefulset spec are forbidden", "Invalid")
    place.settings = replace(place.settings, log="debug")
    assert begun(place.round()) == [SERVING, SPARES]


def test_sets_of_a_controller_that_noted_no_templates_are_changed_one_after_the_other_and_begin_no_pod_anew() -> None:
    place = Place()
    before = {each["metadata"]["uid"] for each in place.server.all("pods")}
    for name in (SPARES, HOSTS):
        found = place.server.get("statefulsets", name)
        del found["metadata"]["annotations"][TEMPLATE]
        place.server.put(found)
    assert place.round() == []
    for pool in ("spares", "hosts"):
        place.pool(pool, count=3)
    place.settle()
    sets = [place.server.get("statefulsets", each) for each in (SPARES, HOSTS)]
    assert all(TEMPLATE in each["metadata"]["annotations"] and each["spec"]["replicas"] == 3 for each in sets)
    assert before < {each["metadata"]["uid"] for each in place.server.all("pods")}
