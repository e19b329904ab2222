"""The custom resources: what users ask for and are told, as types, from which the API server's definitions are made."""

from synfire.kubernetes.resources.definitions import KINDS, Kind, definitions, kind_of
from synfire.kubernetes.resources.kinds import API, GROUP, CacheSpec, ModelSpec, PipelineSpec, PoolSpec
from synfire.kubernetes.resources.status import (
    CacheStatus,
    Condition,
    ModelStatus,
    PipelineStatus,
    PoolStatus,
    Recovery,
    Stage,
    TrafficSide,
)

__all__ = [
    "API",
    "GROUP",
    "KINDS",
    "CacheSpec",
    "CacheStatus",
    "Condition",
    "Kind",
    "ModelSpec",
    "ModelStatus",
    "PipelineSpec",
    "PipelineStatus",
    "PoolSpec",
    "PoolStatus",
    "Recovery",
    "Stage",
    "TrafficSide",
    "definitions",
    "kind_of",
]
