"""What users ask for: the custom resources' specs. Their schemas, defaults and docs are made of these types.

A field's name in YAML is its name here in camel case. What a field may be stands in its type, and is refused by the API server
before anybody acts on it; what takes more knowledge than that becomes a condition of the object.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

GROUP, VERSION = "synfire.dev", "v1alpha1"
API = f"{GROUP}/{VERSION}"

QUANTITY = r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$"

Quantity = Annotated[str, Meta(pattern=QUANTITY)]
Name = Annotated[str, Meta(pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$", max_length=63)]
Device = Annotated[str, Meta(pattern=r"^[a-z][-a-z0-9]*$", max_length=63)]
ServedName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]*$", max_length=128)]


class ModelScale(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Between how many replicas a model scales by itself."""

    most: Annotated[int, Meta(description="Replicas at the most.", ge=1, le=99)]
    least: Annotated[
        int,
        Meta(description="Replicas at the least; with 0 the last one sleeps, and the next call wakes it.", ge=0, le=99),
    ] = 1
    calls: Annotated[
        float, Meta(description="How many calls each has at a time, those that wait included.", ge=0.01, le=1e5)
    ] = 8.0
    idle_seconds: Annotated[
        float, Meta(description="How long nobody has called when the last one sleeps.", ge=0.1, le=1e8)
    ] = 300.0


class StageReplicas(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Between how many replicas one stage of a model scales by itself."""

    most: Annotated[int, Meta(description="Replicas at the most.", ge=1, le=99)]
    least: Annotated[
        int,
        Meta(
            description="Replicas at the least; with 0 it leaves its Pod when nobody calls the model, and the next call wakes it.",
            ge=0,
            le=99,
        ),
    ] = 1
    idle_seconds: Annotated[
        Annotated[float, Meta(ge=0.1, le=1e8)] | None,
        Meta(description="How long nobody has called when it sleeps. Left out: as `scale` says, else 300."),
    ] = None


class TrafficShare(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A model that answers some of another one's calls."""

    model: Annotated[ServedName, Meta(description="The name that callers use for it.")]
    percent: Annotated[
        float, Meta(description="So many percent of the calls; the rest stays where it was.", ge=0, le=100)
    ]


class TrafficCopies(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A model that gets copies of another one's calls, whose answers are compared and dropped."""

    model: Annotated[ServedName, Meta(description="The name that callers use for it.")]
    percent: Annotated[float, Meta(description="Copies of so many percent of the calls.", ge=0, le=100)] = 100.0


class ModelTraffic(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Which other models of the namespace answer some of a model's calls, or get copies of them; the status compares them."""

    sides: Annotated[
        tuple[TrafficShare, ...],
        Meta(
            description="A canary, or the other sides of an A/B test, with 100 percent at most together.", max_length=16
        ),
    ] = ()
    shadow: Annotated[TrafficCopies | None, Meta(description="Left out: none.")] = None
    operators: Annotated[
        tuple[Annotated[str, Meta(max_length=256)], ...],
        Meta(
            description="Share calls of these operators alone: the models differ in them, and in nothing else, or are refused. Left out: whatever they differ in.",
            max_length=16,
        ),
    ] = ()


class ModelSpec(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A model that is served, and how."""

    source: Annotated[
        str,
        Meta(
            description="What is served: a model of the zoo, or of the store, where a SynfireCache puts what it has pulled. "
            "Left out: the object's own name.",
            max_length=512,
        ),
    ] = ""
    served_name: Annotated[
        str,
        Meta(
            description="The name that callers use. Left out: the object's own name.",
            pattern=r"^([A-Za-z0-9][A-Za-z0-9._@-]*)?$",
            max_length=128,
        ),
    ] = ""
    granularity: Annotated[
        Literal["auto", "model", "block", "operator"],
        Meta(description="How finely it is cut into stages: whole, behind blocks, every operator, or where it pays."),
    ] = "auto"
    workers: Annotated[
        Annotated[int, Meta(ge=1, le=256)] | None,
        Meta(
            description="Over how many workers it is spread. Left out: one for each stage of the cut; one where none is named."
        ),
    ] = None
    apart: Annotated[
        bool, Meta(description="Keep every stage of the cut apart, also where neighbours share a worker.")
    ] = False
    device: Annotated[
        Device, Meta(description="Where what it takes of the model goes; a pool has to have that device.")
    ] = "cpu"
    profile: Annotated[
        str,
        Meta(
            description="How to serve, as `synfire profiles` lists it: auto, latency, throughput, a name, or the first "
            "digits of an id. Left out: as planned.",
            max_length=128,
        ),
    ] = ""
    replicas: Annotated[
        int, Meta(description="So many copies; a call goes to the one with the least to do. 0 unloads it.", ge=0, le=99)
    ] = 1
    scale: Annotated[
        ModelScale | None, Meta(description="Have replicas follow the load. Left out: as many as `replicas` says.")
    ] = None
    stages: Annotated[
        dict[str, StageReplicas],
        Meta(
            description="Stages that scale by themselves, by their names as `synfire plan` tells them, each with its own work: the others of the model "
            "stay as they are."
        ),
    ] = {}
    priority: Annotated[
        int,
        Meta(
            description="Where there is no room for all, models of the lowest priority are stopped first.",
            ge=-999_999_999,
            le=999_999_999,
        ),
    ] = 0
    rate: Annotated[
        Annotated[float, Meta(ge=0.001, le=1e6)] | None,
        Meta(
            description="Requests a second that each copy is to bear: chips are given no more of them than their events a second allow. Left out: "
            "nobody looks at these. Chips only.",
        ),
    ] = None
    context: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="Tokens that a prompt and its answer may have together; language models only."),
    ] = None
    accept: Annotated[
        Literal["tensor", "image", "negative"],
        Meta(description="What a model of pictures takes: numbers, picture files, or such with dark strokes on white."),
    ] = "tensor"
    memory: Annotated[
        Annotated[str, Meta(pattern=QUANTITY)] | None,
        Meta(description="What it may hold on each worker; a larger one is cut into more stages."),
    ] = None
    stage_services: Annotated[
        bool, Meta(description="Make a Service of each stage, which leads to the worker that hosts it now.")
    ] = True
    variant_of: Annotated[
        str,
        Meta(
            description="Another model of the namespace, as it is served, from which this one differs in some operators: it is cut as that is, and shares its workers but for these. "
            "Left out: it has workers of its own.",
            max_length=128,
        ),
    ] = ""
    traffic: Annotated[
        ModelTraffic | None, Meta(description="Share its calls with others. Left out: it answers all of them itself.")
    ] = None


class Toleration(Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """As a Pod has it."""

    key: str = ""
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    toleration_seconds: int | None = None


class Autoscale(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """How many Pods a pool has: as many as models need, or by what its workers do; then a HorizontalPodAutoscaler sets the pool's count."""

    most: Annotated[int, Meta(description="Pods at the most.", ge=1, le=256)]
    least: Annotated[int, Meta(description="Pods at the least; none only where they follow models.", ge=0, le=256)] = 1
    follows: Annotated[
        Literal["load", "models"],
        Meta(
            description="What their number follows: the load of its workers, or how many of them models need for their places and for "
            "replicas of their stages. A Pod that hosts nothing goes again; count is not looked at.",
        ),
    ] = "load"
    metric: Annotated[
        str,
        Meta(
            description="What is measured for each Pod, by the name that the custom metrics API has for it. Left out: "
            "the share of the processor that it asked for.",
            max_length=128,
        ),
    ] = ""
    target: Annotated[
        str,
        Meta(
            description="The metric's average that is aimed at, such as 4 or 500m; without a metric, percent.",
            pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|Ki|Mi|Gi)?$",
        ),
    ] = "70"


class PoolSpec(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Worker Pods of one kind, which join the namespace's deployment."""

    role: Annotated[
        Literal["workers", "spares"],
        Meta(description="Whether they host stages, or stand by to take over from those that do."),
    ] = "workers"
    device: Annotated[Device, Meta(description="What they compute with: cpu, cuda, or darwin3.")] = "cpu"
    resource: Annotated[
        str,
        Meta(
            description="The extended resource that each asks for. Left out: nvidia.com/gpu for cuda, zj.com/darwin3 "
            "for darwin3, none for cpu.",
            pattern=r"^([a-z0-9][-a-z0-9.]*/[A-Za-z0-9][-A-Za-z0-9_.]*)?$",
            max_length=317,
        ),
    ] = ""
    count: Annotated[int, Meta(description="How many Pods.", ge=0, le=256)] = 1
    cpus: Annotated[int, Meta(description="Processors of each.", ge=1, le=256)] = 1
    cpu_request: Annotated[
        str,
        Meta(
            description="What each asks of its node where that is less than its processors, such as 100m.",
            pattern=r"^([0-9]+m?)?$",
        ),
    ] = ""
    memory: Annotated[Quantity, Meta(description="What each may hold; the Pod asks for 768Mi more.")] = "1Gi"
    node_selector: Annotated[dict[str, str], Meta(description="Labels that their nodes have.")] = {}
    tolerations: Annotated[
        tuple[Toleration, ...], Meta(description="Taints of nodes that they bear.", max_length=32)
    ] = ()
    cache: Annotated[Name, Meta(description="A SynfireCache of the namespace, from which they start warm.")] = ""
    shares_nodes: Annotated[
        bool, Meta(description="Let a spare share the node of a worker where there are too few nodes.")
    ] = False
    image: Annotated[
        str, Meta(description="What they run. Left out: what the controller was told.", max_length=512)
    ] = ""
    priority_class_name: Annotated[Name, Meta(description="The PriorityClass of the Pods.")] = ""
    autoscale: Annotated[
        Autoscale | None, Meta(description="Left out: `count` Pods, and nobody but you changes that.")
    ] = None


class CacheSpec(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A volume of what is loaded and built once: blobs, weights, engines, compiled kernels."""

    size: Annotated[Quantity, Meta(description="How large the volume is.")] = "10Gi"
    storage_class_name: Annotated[
        Name | None, Meta(description="Its storage class. Left out: the cluster's own choice.")
    ] = None
    access_mode: Annotated[
        Literal["ReadWriteOnce", "ReadWriteMany"],
        Meta(description="Pods of several nodes need ReadWriteMany, which not every storage class has."),
    ] = "ReadWriteOnce"
    claim: Annotated[
        Name, Meta(description="A claim of the namespace that is there already. Left out: one is made.")
    ] = ""
    keep: Annotated[bool, Meta(description="Whether the claim stays when this object is deleted.")] = False
    secret: Annotated[
        Name,
        Meta(
            description="A Secret of the namespace whose keys become variables of what fetches the models, such as HF_TOKEN, HF_ENDPOINT or "
            "HTTPS_PROXY."
        ),
    ] = ""
    models: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=512)], ...],
        Meta(
            description="What it is warmed with, in this order: a source such as hf://ORG/REPO is pulled, a model of the zoo or of the "
            "store is built.",
            max_length=256,
        ),
    ] = ()


class PipelineSpec(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A chain of served models, as a chain's file says it: the keys are those of the file (docs/chains.md)."""

    steps: Annotated[
        dict[str, dict[str, Any]], Meta(description="What is done, by name: a model, a function, a switch, …")
    ]
    outputs: Annotated[dict[str, Any], Meta(description="Where each output comes from, such as `step.output`.")]
    served_name: Annotated[
        str,
        Meta(
            description="The name that callers use. Left out: the object's own name.",
            pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*)?$",
            max_length=128,
        ),
    ] = ""
    description: Annotated[str, Meta(description="What it does, in words.", max_length=4096)] = ""
    inputs: Annotated[dict[str, Any], Meta(description="Types of inputs that no model reads.")] = {}
