"""What NIM's and vLLM's callers ask beside models: is it live, is it ready, which version, what is served, and metrics."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from synfire import __version__
from synfire.gateway.api import APIS, Api
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.http import Endpoint, HttpRequest, HttpResponse, json_response
from synfire.gateway.language.card import card_of, is_language, operator_of
from synfire.gateway.model import Model
from synfire.gateway.protocols.metrics import Metrics
from synfire.wire.status import ready_status

API_VERSION = "1"


class Health(msgspec.Struct, frozen=True):
    message: str
    object: str = "health.response"


class Version(msgspec.Struct, frozen=True):
    """Of this deployment, in the words of NIM (`release`, `api`) and of vLLM."""

    release: str = __version__
    api: str = API_VERSION
    version: str = __version__


class ModelSource(msgspec.Struct, frozen=True, rename="camel"):
    """A model that is served, and the content that it is made of."""

    short_name: str
    model_url: str


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    """What is served. `asset_info` are the files of weights, by their SHA-256."""

    version: str
    model_info: list[ModelSource]
    asset_info: list[str]
    license_info: dict[str, str]
    repository_override: str = msgspec.field(default="", name="repository_override")


class Nim:
    """`/v1/health/*`, `/v1/version`, `/v1/metadata`, `/v1/metrics`; `/health` and `/version` for vLLM's callers."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._metrics = Metrics(plane)

    def endpoints(self) -> Iterable[Endpoint]:
        for path in ("/v1/health/ready", "/health"):
            yield Endpoint("GET", path, self.ready, "Are calls accepted?", None, Health, (503,), open=True)
        yield Endpoint("GET", "/v1/health/live", self.live, "Is the gateway alive?", None, Health, open=True)
        for path in ("/v1/version", "/version"):
            yield Endpoint("GET", path, self.version, "This deployment's version", None, Version)
        yield Endpoint("GET", "/v1/metadata", self.metadata, "Language models, and their weights", None, Metadata)
        yield Endpoint("GET", "/v1/metrics", self._metrics.metrics, "Metrics for Prometheus", None, "text/plain")

    async def live(self, request: HttpRequest) -> HttpResponse:
        return json_response(Health("Service is live."))

    async def ready(self, request: HttpRequest) -> HttpResponse:
        ready = self._plane.ready
        return json_response(Health(f"Service is {'' if ready else 'not '}ready."), ready_status(ready))

    async def version(self, request: HttpRequest) -> HttpResponse:
        return json_response(Version())

    async def metadata(self, request: HttpRequest) -> HttpResponse:
        models = [model for model in self._plane.models if is_language(model)]
        weights = sorted({f"{name} sha256:{digest}" for model in models for name, digest in operator_of(model).weights})
        found = Metadata(__version__, [_source(model) for model in models], weights, {"name": "Apache-2.0"})
        return json_response(found)


def _source(model: Model) -> ModelSource:
    digests = ",".join(digest for _, digest in operator_of(model).weights)
    return ModelSource(model.name, f"{card_of(model).name or model.name}@sha256:{digests}")


APIS.add("nim", Api(endpoints=lambda plane: Nim(plane).endpoints()))
