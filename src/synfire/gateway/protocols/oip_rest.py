"""Open Inference Protocol v2 over REST, with the binary extension and what Triton's clients use besides."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import msgspec

from synfire.base.errors import UserError
from synfire.base.log import LOGGER
from synfire.gateway import descriptions, oip
from synfire.gateway.api import APIS, Api
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.http import Endpoint, HttpRequest, HttpResponse, caller_of, json_response
from synfire.gateway.model import Model
from synfire.gateway.request import Request
from synfire.gateway.status import NotSupported
from synfire.wire.oip import HEADER_LENGTH, InferRequest, build_infer_response, parse_infer_request
from synfire.wire.status import ready_status

_HEADER_LENGTH = HEADER_LENGTH.encode()

TIMEOUT = "Synfire-Timeout-Ms"
"""HTTP header: the milliseconds that a request may take."""


class InferTensor(msgspec.Struct, omit_defaults=True):
    """A tensor. `data` is flat or nested; absent with the binary extension (`binary_data_size` in `parameters`)."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: list[Any] = []


class InferOutput(msgspec.Struct, omit_defaults=True):
    name: str
    parameters: dict[str, Any] = {}


class InferBody(msgspec.Struct, omit_defaults=True):
    inputs: list[InferTensor]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: list[InferOutput] = []


class InferAnswer(msgspec.Struct, omit_defaults=True):
    model_name: str
    outputs: list[InferTensor]
    model_version: str = ""
    id: str = ""
    parameters: dict[str, Any] = {}


class Live(msgspec.Struct):
    live: bool


class Ready(msgspec.Struct, omit_defaults=True):
    """`error` says why not; `degraded` what is not served as planned, of what takes calls all the same."""

    ready: bool
    name: str = ""
    error: str = ""
    degraded: str = ""


class ModelList(msgspec.Struct):
    models: list[str]


class StatisticsList(msgspec.Struct):
    model_stats: list[descriptions.ModelStatistics]


class IndexQuery(msgspec.Struct, forbid_unknown_fields=True):
    ready: bool = False


class LogSettings(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """Triton's log settings, of which the levels can be set here: the log goes to standard error."""

    log_info: bool | None = None
    log_warning: bool | None = None
    log_error: bool | None = None
    log_verbose_level: int | None = None


class TraceSettings(msgspec.Struct, forbid_unknown_fields=True):
    """Triton's trace settings; tracing stays off."""

    trace_level: tuple[str, ...] = ("OFF",)


class OipRest:
    """The handlers, by the resource that they speak of."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    def endpoints(self) -> Iterable[Endpoint]:
        for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            yield from self._of_model(path)
        yield from self._of_server()
        yield from self._of_repository()
        yield from self._of_settings()

    def _of_model(self, path: str) -> Iterable[Endpoint]:
        yield Endpoint(
            "POST",
            f"{path}/infer",
            self.infer,
            "Infer",
            InferBody,
            InferAnswer,
            (400, 404, 408, 413, 429, 503, 504),
            True,
        )
        yield Endpoint(
            "GET", path, self.metadata, "Inputs and outputs of a model", None, descriptions.ModelDescription, (404,)
        )
        yield Endpoint("GET", f"{path}/ready", self.model_ready, "Is a model ready?", None, Ready, (404, 503))
        yield Endpoint(
            "GET", f"{path}/config", self.config, "Model configuration", None, descriptions.ModelConfig, (404,)
        )
        yield Endpoint("GET", f"{path}/stats", self.stats, "Counters of a model", None, StatisticsList, (404,))

    def _of_server(self) -> Iterable[Endpoint]:
        yield Endpoint("GET", "/v2", self.server, "Name, version, extensions", None, descriptions.ServerMetadata)
        yield Endpoint("GET", "/v2/health/live", self.live, "Is the gateway there?", None, Live, open=True)
        yield Endpoint("GET", "/v2/health/ready", self.ready, "Are calls accepted?", None, Ready, (503,), open=True)
        yield Endpoint("GET", "/v2/models", self.models, "Names of the models", None, ModelList)
        yield Endpoint("GET", "/v2/models/stats", self.all_stats, "Counters of all models", None, StatisticsList)

    def _of_repository(self) -> Iterable[Endpoint]:
        path, index = "/v2/repository/models/{model}", list[descriptions.ModelIndex]
        yield Endpoint("POST", "/v2/repository/index", self.index, "What is served", IndexQuery, index, (400,))
        fails = (404, 501, 503)
        yield Endpoint("POST", f"{path}/load", self.load, "Load an unloaded model again", None, None, fails)
        yield Endpoint("POST", f"{path}/unload", self.unload, "Unload a model", None, None, fails)

    def _of_settings(self) -> Iterable[Endpoint]:
        yield Endpoint("GET", "/v2/logging", self.log_settings, "Log settings", None, LogSettings)
        yield Endpoint("POST", "/v2/logging", self.set_log, "Set log levels", LogSettings, LogSettings, (400,))
        for path in ("/v2/trace/setting", "/v2/models/{model}/trace/setting"):
            yield Endpoint("GET", path, self.trace_settings, "Trace settings", None, TraceSettings, (404,))
            yield Endpoint(
                "POST", path, self.set_trace, "Tracing stays off", TraceSettings, TraceSettings, (400, 404, 501)
            )

    async def infer(self, request: HttpRequest) -> HttpResponse:
        naming = oip.Naming(request.path["model"])
        asked, wanted = read_infer(request, naming)
        with naming:
            answer = oip.to_response(await self._plane.infer(wanted))
        binary = [name for name in answer.outputs if asked.wants_binary(name)]
        body, length = build_infer_response(answer, binary)
        if length is None:
            return HttpResponse(body)
        headers = [(_HEADER_LENGTH, b"%d" % length)]
        return HttpResponse(body, content_type="application/octet-stream", headers=headers)

    async def metadata(self, request: HttpRequest) -> HttpResponse:
        return json_response(descriptions.model_description(self._plane, await self._described(request)))

    async def config(self, request: HttpRequest) -> HttpResponse:
        return json_response(descriptions.model_config(self._plane, await self._described(request)))

    async def model_ready(self, request: HttpRequest) -> HttpResponse:
        name = request.path["model"]
        if name in self._plane.coming:
            return _readiness(self._plane.coming.why(name), "", name)
        models = self._plane.answering(name, request.path.get("version", ""))
        reasons, short = (
            list(filter(None, (tell(self._plane, each) for each in models)))
            for tell in (descriptions.why_not_ready, descriptions.shortfall)
        )
        return _readiness(next(iter(reasons), ""), "; ".join(short), name)

    async def stats(self, request: HttpRequest) -> HttpResponse:
        return json_response(StatisticsList(descriptions.statistics((self._model(request),))))

    async def all_stats(self, request: HttpRequest) -> HttpResponse:
        return json_response(StatisticsList(descriptions.statistics(self._plane.models)))

    async def server(self, request: HttpRequest) -> HttpResponse:
        return json_response(descriptions.server_metadata())

    async def live(self, request: HttpRequest) -> HttpResponse:
        return json_response(Live(True))

    async def ready(self, request: HttpRequest) -> HttpResponse:
        reasons = [descriptions.why_not_ready(self._plane, model) for model in self._plane.models]
        short = "; ".join(filter(None, (descriptions.shortfall(self._plane, model) for model in self._plane.models)))
        return _readiness(
            "" if self._plane.ready else next(filter(None, reasons), "the gateway is shutting down"), short
        )

    async def models(self, request: HttpRequest) -> HttpResponse:
        return json_response(ModelList(list(self._plane.names)))

    async def index(self, request: HttpRequest) -> HttpResponse:
        return json_response(await descriptions.repository_index(self._plane, request.json(IndexQuery).ready))

    async def load(self, request: HttpRequest) -> HttpResponse:
        name = request.path["model"]
        await descriptions.repository(self._plane, "load", name).load(name)
        return HttpResponse()

    async def unload(self, request: HttpRequest) -> HttpResponse:
        name = request.path["model"]
        await descriptions.repository(self._plane, "unload", name).unload(name)
        return HttpResponse()

    async def log_settings(self, request: HttpRequest) -> HttpResponse:
        level = LOGGER.getEffectiveLevel()
        return json_response(
            LogSettings(
                log_info=level <= logging.INFO,
                log_warning=level <= logging.WARNING,
                log_error=level <= logging.ERROR,
                log_verbose_level=int(level <= logging.DEBUG),
            )
        )

    async def set_log(self, request: HttpRequest) -> HttpResponse:
        level = log_level(request.json(LogSettings))
        if level is not None:
            LOGGER.setLevel(level)
        return await self.log_settings(request)

    async def trace_settings(self, request: HttpRequest) -> HttpResponse:
        if "model" in request.path:
            self._model(request)
        return json_response(TraceSettings())

    async def set_trace(self, request: HttpRequest) -> HttpResponse:
        if request.json(TraceSettings) != TraceSettings():
            raise NotSupported("this gateway records no traces; leave trace_level at ['OFF'], and see /metrics")
        return await self.trace_settings(request)

    async def _described(self, request: HttpRequest) -> Model:
        return await self._plane.described(request.path["model"], request.path.get("version", ""))

    def _model(self, request: HttpRequest) -> Model:
        return self._plane.model(request.path["model"], request.path.get("version", ""))


def _readiness(error: str, degraded: str, name: str = "") -> HttpResponse:
    return json_response(Ready(not error, name, error, degraded), ready_status(not error))


def read_infer(request: HttpRequest, naming: oip.Naming) -> tuple[InferRequest, Request]:
    """An infer body as the protocol says it, and as the data plane takes it; whose it is `naming` says from then on."""
    length = _whole_number(HEADER_LENGTH, request.header(HEADER_LENGTH))
    timeout_ms = _whole_number(TIMEOUT, request.header(TIMEOUT))
    timeout_s, version = None if timeout_ms is None else timeout_ms / 1e3, request.path.get("version", "")
    with naming:
        asked = parse_infer_request(request.body, length)
        naming.request_id = asked.id
        return asked, oip.to_request(request.path["model"], version, asked, timeout_s, caller_of(request))


def log_level(wanted: LogSettings) -> int | None:
    """The most talkative level that is switched on; silence but for errors when all are switched off."""
    if (wanted.log_verbose_level or 0) < 0:
        raise UserError(f"log_verbose_level is {wanted.log_verbose_level}; it is 0 or above")
    switches = (
        (logging.DEBUG, bool(wanted.log_verbose_level)),
        (logging.INFO, wanted.log_info),
        (logging.WARNING, wanted.log_warning),
        (logging.ERROR, wanted.log_error),
    )
    if all(each is None for each in msgspec.structs.astuple(wanted)):
        return None
    return next((level for level, on in switches if on), logging.CRITICAL)


def _whole_number(name: str, value: str | None) -> int | None:
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 19):
        raise UserError(f"header {name} is {value[:40]!r}; it takes a whole number")
    return int(value)


APIS.add("oip-rest", Api(endpoints=lambda plane: OipRest(plane).endpoints()))
