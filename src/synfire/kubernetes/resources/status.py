"""What users are told: the custom resources' statuses."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Phase = Literal["Pending", "Loading", "Ready", "Degraded", "Failed", "Asleep", "Unloaded"]


class Condition(Struct, frozen=True, rename="camel"):
    """As Kubernetes' own conditions are: `reason` is one word for machines, `message` says what is wrong and how to mend it."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str = ""
    observed_generation: int = 0
    last_transition_time: str = ""


class Stage(Struct, frozen=True, rename="camel"):
    """A stage, and where it is now."""

    name: str
    worker: Annotated[str, Meta(description="Its worker; none while it waits for one.")] = ""
    node: str = ""
    service: Annotated[str, Meta(description="The Service that leads to it; empty where there is none.")] = ""
    path: Annotated[str, Meta(description="Where it answers behind that Service.")] = ""
    operators: tuple[str, ...] = ()


class Recovery(Struct, frozen=True, rename="camel"):
    """The last failure that hit it, and how it ended."""

    at: str
    cause: str
    outcome: str
    milliseconds: int = 0


class TrafficSide(Struct, frozen=True, rename="camel"):
    """A model that answers calls of another one's name, or gets copies, and what it did since the gateways know of it."""

    model: str
    percent: float
    shadow: bool = False
    calls: int = 0
    errors: int = 0
    samples: int = 0
    mean_milliseconds: int = 0
    p95_milliseconds: int = 0
    compared: Annotated[
        int, Meta(description="Answers of the shadow that were compared with those that callers got.")
    ] = 0
    same: Annotated[int, Meta(description="Those of them that were equal, bit for bit.")] = 0
    compared_samples: int = 0
    agreed: Annotated[int, Meta(description="Samples of them whose largest value was in the same place.")] = 0
    left_out: Annotated[
        int, Meta(description="Calls that were not copied, because too many copies were under way.")
    ] = 0


class ModelStatus(Struct, frozen=True, rename="camel"):
    observed_generation: int = 0
    phase: Phase = "Pending"
    conditions: tuple[Condition, ...] = ()
    served_name: str = ""
    url: Annotated[str, Meta(description="Where the namespace's callers reach it.")] = ""
    replicas: int = 0
    replicas_ready: int = 0
    profile: Annotated[str, Meta(description="The profile, or the engine, that runs it.")] = ""
    stage_count: int = 0
    stages: tuple[Stage, ...] = ()
    last_recovery: Recovery | None = None
    traffic: Annotated[
        tuple[TrafficSide, ...] | None,
        Meta(description="How those compare that answer its calls, or get copies."),
    ] = None


class PoolStatus(Struct, frozen=True, rename="camel"):
    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
    wanted: Annotated[int, Meta(description="Pods that there are to be.")] = 0
    count: Annotated[int, Meta(description="Pods that there are.")] = 0
    ready: Annotated[int, Meta(description="Pods whose worker has joined.")] = 0
    hosting: Annotated[int, Meta(description="Pods that host a stage.")] = 0
    selector: Annotated[str, Meta(description="Finds the Pods, for autoscalers.")] = ""


class CacheStatus(Struct, frozen=True, rename="camel"):
    observed_generation: int = 0
    phase: Literal["Pending", "Warming", "Ready", "Failed"] = "Pending"
    conditions: tuple[Condition, ...] = ()
    claim: str = ""
    capacity: str = ""
    warmed: Annotated[tuple[str, ...], Meta(description="The models that it was warmed with.")] = ()


class PipelineStatus(Struct, frozen=True, rename="camel"):
    observed_generation: int = 0
    phase: Phase = "Pending"
    conditions: tuple[Condition, ...] = ()
    served_name: str = ""
    url: str = ""
    models: Annotated[tuple[str, ...], Meta(description="The models that its steps call.")] = ()
