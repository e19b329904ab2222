"""Copies of what is there, the lease, and the controller as a whole, against an API server that misbehaves."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from world import FakeDeployment, config_of, resource  # beside this file, which is imported by its path

from synfire.base.errors import UserError
from synfire.kubernetes.cluster import mirror as mirrors
from synfire.kubernetes.cluster.api import Api, configured
from synfire.kubernetes.cluster.lease import Lease, Terms
from synfire.kubernetes.cluster.mirror import Mirror
from synfire.kubernetes.controller import controller as controllers
from synfire.kubernetes.controller import space as spaces
from synfire.kubernetes.controller.controller import Controller, Scope
from synfire.kubernetes.controller.deployment import Deployed
from synfire.kubernetes.controller.hands import Hands, Reach
from synfire.kubernetes.controller.health import answering
from synfire.kubernetes.controller.observed import Document, Settings
from synfire.testing.clock import FakeClock
from synfire.testing.fake_kubernetes import Asked, FakeKubernetes, Refusal, pods_of

WITHIN_S = 20.0


def pod(name: str, **labels: str) -> Document:
    metadata = {"name": name, "namespace": "default", "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {}}


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what another task brings about."""
    async with asyncio.timeout(WITHIN_S):
        while not holds():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def mirrored(server: FakeKubernetes, selector: str = "") -> AsyncIterator[Mirror]:
    async with Api(config_of(server)) as api:
        found = Mirror(api, "v1", "Pod", "", selector, lambda namespace, found: None)
        task = asyncio.ensure_future(found.run())
        try:
            await asyncio.wait_for(found.listed.wait(), WITHIN_S)
            yield found
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def names(found: Mirror) -> set[str]:
    return {name for _, name in found.objects}


def test_a_copy_follows_what_is_made_changed_and_deleted() -> None:
    async def story() -> None:
        with FakeKubernetes().running() as server:
            server.put(pod("a", app="synfire"))
            server.put(pod("other"))
            async with mirrored(server, "app=synfire") as found:
                assert names(found) == {"a"}
                server.put(pod("b", app="synfire"))
                await until(lambda: names(found) == {"a", "b"})
                server.put(pod("a", app="synfire", more="x"))
                await until(lambda: "more" in found.objects["default", "a"]["metadata"]["labels"])
                server.delete("pods", "a")
                await until(lambda: names(found) == {"b"})
                assert found.relists == 1

    asyncio.run(story())


def test_an_answer_that_comes_late_hides_nothing_newer_that_was_told_meanwhile() -> None:
    async def story() -> None:
        with FakeKubernetes().running() as server:
            written = server.put(pod("a"))
            async with mirrored(server) as found:
                server.put(pod("a", more="x"))
                await until(lambda: "more" in found.objects["default", "a"]["metadata"]["labels"])
                found.note(written)
                assert found.objects["default", "a"]["metadata"]["labels"] == {"more": "x"}
                newest = server.put(pod("a", more="y"))
                found.note(newest)
                assert found.objects["default", "a"]["metadata"]["labels"] == {"more": "y"}

    asyncio.run(story())


def test_a_lost_connection_goes_on_from_where_it_was() -> None:
    async def story() -> None:
        with FakeKubernetes().running() as server:
            server.put(pod("a"))
            async with mirrored(server) as found:
                server.break_watches()
                server.put(pod("b"))
                server.delete("pods", "a")
                await until(lambda: names(found) == {"b"})
                assert found.relists == 1

    asyncio.run(story())


def no_watch(asked: Asked) -> None:
    if asked.verb == "watch":
        raise Refusal(503, "ServiceUnavailable", "no watches now")


def test_what_was_missed_for_too_long_is_listed_anew_deletions_included() -> None:
    async def story() -> None:
        with FakeKubernetes().running() as server:
            for each in ("a", "b"):
                server.put(pod(each))
            async with mirrored(server) as found:
                server.refuse = no_watch
                server.break_watches()
                server.delete("pods", "a")
                server.put(pod("c"))
                server.forget()
                server.refuse = lambda asked: None
                await until(lambda: names(found) == {"b", "c"})
                assert found.relists >= 2

    asyncio.run(story())


def test_lists_come_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        with FakeKubernetes().running() as server:
            for number in range(7):
                server.put(pod(f"p{number}"))
            async with mirrored(server) as found:
                assert len(found.objects) == 7
                assert len([each for each in server.asked if each.verb == "list"]) == 4

    monkeypatch.setattr("synfire.kubernetes.cluster.api.PAGE", 2)
    asyncio.run(story())


def test_where_we_may_not_look_the_server_s_words_are_kept_and_it_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story() -> None:
        def refuse(asked: Asked) -> None:
            if refused:
                raise Refusal(403, "Forbidden", "pods is forbidden")

        refused = [True]
        with FakeKubernetes().running() as server:
            server.refuse = refuse
            async with mirrored(server) as found:
                assert found.refused == "pods is forbidden"
                server.put(pod("a"))
                refused.clear()
                await until(lambda: names(found) == {"a"})
                assert found.refused == ""

    monkeypatch.setattr(mirrors, "FIRST_PAUSE_S", 0.01)
    asyncio.run(story())


def leases(api: Api, clock: FakeClock, *identities: str) -> list[Lease]:
    return [Lease(api, "default", "lease", each, Terms(15, 2, 5), clock) for each in identities]


def test_one_holds_the_lease_and_another_takes_it_when_it_is_renewed_no_longer() -> None:
    async def story() -> None:
        with FakeKubernetes().running() as server:
            async with Api(config_of(server)) as api:
                clock = FakeClock()
                one, other = leases(api, clock, "one", "other")
                for each in (one, other):
                    await each.step()
                assert (one.held, other.held) == (True, False)
                for _ in range(6):
                    clock.advance(9.0)
                    await one.step()
                    await other.step()
                    assert (one.held, other.held) == (True, False)
                clock.advance(10.0)
                assert not one.held  # it could not renew it, and stops before anybody else may begin
                await other.step()
                assert not other.held
                clock.advance(5.0)
                await other.step()
                assert (one.held, other.held) == (False, True)
                await one.step()
                assert (one.held, other.held) == (False, True)
                assert server.get("leases", "lease")["spec"]["leaseTransitions"] == 1

    asyncio.run(story())


def test_two_that_take_the_lease_at_once_do_not_both_get_it() -> None:
    async def story() -> None:
        with FakeKubernetes().running() as server:
            async with Api(config_of(server)) as api:
                found = leases(api, FakeClock(), "a", "b", "c", "d")
                await asyncio.gather(*(each.step() for each in found))
                assert sum(each.held for each in found) == 1

    asyncio.run(story())


def test_a_lease_that_is_given_back_is_taken_at_once() -> None:
    async def story() -> None:
        with FakeKubernetes().running() as server:
            async with Api(config_of(server)) as api:
                one, other = leases(api, FakeClock(), "one", "other")
                await one.step()
                await one.release()
                await other.step()
                assert (one.held, other.held) == (False, True)

    asyncio.run(story())


class Reached(Controller):
    """A controller whose deployments are fakes."""

    deployment: FakeDeployment

    def reach(self, namespace: str, hands: Callable[[], Hands]) -> Reach:
        return self.deployment


@asynccontextmanager
async def working(server: FakeKubernetes, deployment: FakeDeployment, identity: str = "one") -> AsyncIterator[Reached]:
    """A controller that runs, for as long as a block lasts."""
    async with Api(config_of(server)) as api:
        found = Reached(api, Settings("synfire:0.1.0"), Scope("default", identity=identity, terms=Terms(3, 0.1, 1)))
        found.deployment = deployment
        task = asyncio.ensure_future(found.run())
        try:
            yield found
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def begin_pods(server: FakeKubernetes, deployment: FakeDeployment) -> None:
    for found in server.all("statefulsets"):
        for each in pods_of(found):
            server.put(each)
    deployment.up = True
    deployment.workers = [
        each["metadata"]["name"] for each in server.all("pods") if "hosts" in each["metadata"]["name"]
    ]


def sets(server: FakeKubernetes) -> set[str]:
    return {each["metadata"]["name"] for each in server.all("statefulsets")}


def phase(server: FakeKubernetes, name: str) -> str:
    found = {each["metadata"]["name"]: each for each in server.all("synfiremodels")}
    told: str = found[name].get("status", {}).get("phase", "")
    return told


def test_a_running_controller_serves_what_is_applied_though_its_watches_break() -> None:
    async def story() -> None:
        deployment = FakeDeployment()
        with FakeKubernetes().running() as server:
            async with working(server, deployment) as found:
                server.put(resource("SynfirePool", "hosts", count=2))
                server.put(resource("SynfireModel", "svgg-digits"))
                await until(lambda: sets(server) == {"synfire", "synfire-hosts"})
                server.break_watches()
                begin_pods(server, deployment)
                await until(lambda: phase(server, "svgg-digits") == "Ready")
                await found.spaces["default"].settled.wait()
                for number in range(5):  # one thing leads to another, though nobody changes anything meanwhile
                    server.put(resource("SynfireModel", f"late-{number}"))
                    await until(lambda name=f"late-{number}": name in deployment.models)  # type: ignore[misc]
                server.forget()
                server.put(resource("SynfirePool", "more", count=1))
                await until(lambda: "synfire-more" in sets(server))
                async with answering(found, "127.0.0.1", 0) as port:
                    said = await asked(port, "/metrics")
                    assert 'synfire_controller_refusals{namespace="default"} 0.0' in said
                    assert "synfire_controller_leads 1.0" in said
                    assert (await asked(port, "/readyz")).startswith("HTTP/1.1 200")
                    assert (await asked(port, "/")).startswith("HTTP/1.1 404")

    asyncio.run(story())


async def asked(port: int, path: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    said = await reader.read()
    writer.close()
    return said.decode()


def test_what_is_more_than_one_round_does_is_done_by_the_next_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        deployment = FakeDeployment()
        with FakeKubernetes().running() as server:
            async with working(server, deployment) as found:
                for each in (resource("SynfirePool", "hosts", count=2), resource("SynfireModel", "svgg-digits")):
                    server.put(each)
                await until(lambda: sets(server) == {"synfire", "synfire-hosts"})
                begin_pods(server, deployment)
                await until(lambda: phase(server, "svgg-digits") == "Ready")
                assert found.spaces["default"].rounds > 10

    monkeypatch.setattr(spaces, "MOST_ACTIONS", 2)
    asyncio.run(story())


class Stuck(FakeDeployment):
    """Answers nobody who asks how it is, from when it is told so."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.open.set()
        self.looks = 0

    async def look(self) -> Deployed:
        self.looks += 1
        await self.open.wait()
        return await super().look()


def test_a_model_is_asked_for_while_a_round_is_at_something_else() -> None:
    async def story() -> None:
        deployment = Stuck()
        with FakeKubernetes().running() as server:
            async with working(server, deployment) as found:
                server.put(resource("SynfirePool", "hosts", count=2))
                await until(lambda: sets(server) == {"synfire", "synfire-hosts"})
                begin_pods(server, deployment)
                server.put(resource("SynfireModel", "first"))
                await until(lambda: phase(server, "first") == "Ready")
                await found.spaces["default"].settled.wait()
                deployment.open.clear()
                looks = deployment.looks
                server.put(resource("SynfireModel", "second"))
                await until(lambda: "second" in deployment.models and deployment.looks > looks)
                for number in range(3):
                    server.put(resource("SynfireModel", f"more-{number}"))
                    await until(lambda name=f"more-{number}": name in deployment.models)  # type: ignore[misc]
                assert phase(server, "more-0") == ""  # no round has come so far
                deployment.open.set()
                await until(lambda: phase(server, "more-2") == "Ready")

    asyncio.run(story())


def test_the_second_controller_acts_when_the_first_has_gone() -> None:
    async def story() -> None:
        deployment = FakeDeployment()
        with FakeKubernetes().running() as server:
            async with working(server, deployment, "other") as other:
                async with working(server, deployment, "one") as one:
                    await until(lambda: one.lease.held or other.lease.held)
                    assert not (one.lease.held and other.lease.held)
                await until(lambda: other.lease.held)
                server.put(resource("SynfirePool", "hosts"))
                await until(lambda: sets(server) == {"synfire", "synfire-hosts"})

    asyncio.run(story())


def test_nothing_is_made_in_a_namespace_that_is_leaving() -> None:
    async def story() -> None:
        with FakeKubernetes().running() as server:
            space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}, "spec": {}}
            server.put({**space, "metadata": {"name": "default", "finalizers": ["kubernetes"]}})
            server.delete("namespaces", "default")
            model = resource("SynfireModel", "svgg-digits")
            model["metadata"]["finalizers"] = ["synfire.dev/unload"]
            server.put(model)
            async with working(server, FakeDeployment()):
                server.delete("synfiremodels", "svgg-digits")
                await until(lambda: server.all("synfiremodels") == [])
                assert sets(server) == set()

    asyncio.run(story())


def test_metrics_that_somebody_begins_to_give_are_found_by_a_controller_that_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story() -> None:
        with FakeKubernetes().running() as server:
            async with working(server, FakeDeployment()):
                scaled = {"most": 4, "metric": "synfire_worker_requests", "target": "4"}
                server.put(resource("SynfirePool", "hosts", autoscale=scaled))
                await until(lambda: scaling(server) == "NoMetrics")
                server.groups["custom.metrics.k8s.io"] = ("custom.metrics.k8s.io/v1beta1",)
                await until(lambda: scaling(server) == "Scaled")
                assert server.get("horizontalpodautoscalers", "synfire-hosts")

    monkeypatch.setattr(controllers, "RESYNC_S", 0.05)
    asyncio.run(story())


def scaling(server: FakeKubernetes) -> str:
    """Why the pool is scaled, or is not."""
    told = server.get("synfirepools", "hosts").get("status", {}).get("conditions", ())
    return next((each["reason"] for each in told if each["type"] == "Scaled"), "")


def test_without_a_cluster_it_is_said_how_to_name_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(UserError, match="set KUBECONFIG"):
        configured()
