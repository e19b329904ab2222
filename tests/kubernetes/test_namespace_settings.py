"""Settings that a namespace has of its own: they become its deployment's, and a mistake in them changes nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from world import World, applied, resource, told  # beside this file, which is imported by its path

from synfire.kubernetes.controller.observed import Document
from synfire.testing.fake_kubernetes import Asked, Refusal

POOL = resource("SynfirePool", "hosts", count=1)


def config(**data: str) -> Document:
    """As `kubectl create configmap synfire --from-literal=…` makes it."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "synfire", "namespace": "default"},
        "data": data,
    }


def serving(here: World) -> Document:
    found: Document = here.server.get("statefulsets", "synfire")["spec"]
    return found


def test_a_namespace_has_the_controller_s_settings_but_for_those_that_it_has_itself() -> None:
    async def story(here: World) -> None:
        await applied(here, POOL)
        container = serving(here)["template"]["spec"]["containers"][0]
        assert container["command"][container["command"].index("--gateways") + 1] == "1"
        kinds = [each["type"] for each in here.server.get("synfirepools", "hosts")["status"]["conditions"]]
        assert "Settings" not in kinds
        await applied(here, config(gateways="3", cpuRequest="250m", log="info", storage="2Gi"))
        container = serving(here)["template"]["spec"]["containers"][0]
        assert container["command"][container["command"].index("--gateways") + 1] == "3"
        assert container["resources"]["requests"]["cpu"] == "250m"
        (claim,) = serving(here)["volumeClaimTemplates"]
        assert claim["spec"]["resources"]["requests"]["storage"] == "2Gi"
        assert here.server.get("configmaps", "synfire-settings")["data"] == {"SYNFIRE_LOG": "info"}
        assert here.condition("synfirepools", "hosts", "Settings")["status"] == "True"
        here.server.delete("configmaps", "synfire")
        await here.settle()
        assert "volumeClaimTemplates" not in serving(here)

    told(story)


def test_the_serving_pod_and_jobs_come_to_nodes_with_taints_where_that_is_said_and_pools_by_their_own_words() -> None:
    async def story(here: World) -> None:
        placing = {
            "memory": "3Gi",
            "nodeSelector": "disk: fast\n",
            "tolerations": '[{"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}]',
            "priorityClassName": "serving",
        }
        await applied(here, config(**placing), POOL, resource("SynfireCache", "store", models=["svgg-digits"]))
        (job,) = here.server.all("jobs")
        here.server.put({**job, "status": {"succeeded": 1}})
        await here.settle()
        for found in (serving(here), job["spec"]):
            pod = found["template"]["spec"]
            assert pod["nodeSelector"] == {"disk": "fast"}
            assert pod["tolerations"] == [{"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}]
            assert pod["priorityClassName"] == "serving"
        asked = serving(here)["template"]["spec"]["containers"][0]["resources"]
        assert (asked["requests"]["memory"], asked["limits"]["memory"]) == ("3Gi", "3Gi")
        hosts = here.server.get("statefulsets", "synfire-hosts")["spec"]["template"]["spec"]
        assert not {"nodeSelector", "tolerations", "priorityClassName"} & set(hosts)

    told(story)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"gateways": "many"}, "Expected `int | null`, got `str` - at `$.gateways`"),
        ({"gateways": "0"}, ">= 1 - at `$.gateways`"),
        ({"gatways": "2"}, "unknown field `gatways`; mend it, its keys are gateways, storage, cpuRequest, memory, "),
        ({"storage": "much"}, "at `$.storage`"),
        ({"log": "loud"}, "at `$.log`"),
        ({"memory": "512"}, "memory 512 is less than 256Mi, with which nothing is served; write it like 2Gi"),
        ({"nodeSelector": "{gpu: true}"}, "nodeSelector is no YAML or JSON of that form (Expected `str`, got `bool`"),
        ({"nodeSelector": "disk=fast"}, "got `str`); write it like {disk: fast}"),
        ({"tolerations": "{key: a}"}, "tolerations is no YAML or JSON of that form (Expected `array"),
        ({"tolerations": "[{key: a, effect: Never}]"}, "'Never' - at `$[0].effect`); write it like [{key: dedicated"),
        ({"tolerations": "[{key: a"}, "write it like [{key: dedicated, operator: Exists}]"),
        ({"priorityClassName": "Not One"}, "at `$.priorityClassName`"),
    ],
)
def test_a_mistake_is_told_of_pools_and_what_serves_stays_as_it_is(data: dict[str, str], said: str) -> None:
    async def story(here: World) -> None:
        await applied(here, config(gateways="2", log="debug"), POOL)
        before = here.content()["statefulsets"], here.server.get("configmaps", "synfire-settings")
        await applied(here, config(**data))
        assert (here.content()["statefulsets"], here.server.get("configmaps", "synfire-settings")) == before
        settings = here.condition("synfirepools", "hosts", "Settings")
        assert (settings["status"], settings["reason"]) == ("False", "InvalidSettings")
        assert said in settings["message"]
        assert here.condition("synfirepools", "hosts")["status"] == "True"

    told(story)


def test_a_change_that_kubernetes_does_not_take_is_told_with_what_to_do() -> None:
    async def story(here: World) -> None:
        def refuse(asked: Asked) -> None:
            if (asked.verb, asked.resource, asked.name) == ("update", "statefulsets", "synfire"):
                raise Refusal(422, "Invalid", "updates to statefulset spec are forbidden")

        await applied(here, POOL)
        here.server.refuse = refuse
        here.server.put(config(storage="2Gi"))
        for _ in range(3):
            await here.round()
        settings = here.condition("synfirepools", "hosts", "Settings")
        assert (settings["status"], settings["reason"]) == ("False", "Invalid")
        assert "take the change back, or delete StatefulSet synfire for a new one" in settings["message"]

    told(story)
