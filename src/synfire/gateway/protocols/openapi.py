"""`/openapi.json`: the OpenAPI 3.1 document of every endpoint, made from the table of endpoints."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from synfire import __version__
from synfire.gateway.api import APIS, Api
from synfire.gateway.http import JSON, Endpoint, HttpRequest, HttpResponse
from synfire.gateway.protocols.stream import EVENTS
from synfire.gateway.status import OK, REASONS, UNAUTHENTICATED
from synfire.wire.oip import HEADER_LENGTH

BINARY = "application/octet-stream"
_REFERENCE = "#/components/schemas/{name}"
_KEY = "key"


def openapi(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """The document. Every endpoint may also answer 400 for a request that is no HTTP, which needs no mention.

    A key is asked for by deployments that have one, so calls without are within the document too.
    """
    endpoints = tuple(endpoints)
    used = (each for endpoint in endpoints for each in (endpoint.takes, endpoint.gives, endpoint.error))
    types = [each for each in used if _typed(each)]
    _, schemas = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {"title": "synfire", "version": __version__, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {_KEY: {"type": "http", "scheme": "bearer"}}},
        "security": [{_KEY: []}, {}],
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": f"{endpoint.method.lower()}{re.sub('[^a-zA-Z0-9]+', '_', endpoint.path)}",
        "summary": endpoint.summary,
        "parameters": [_parameter(name) for name in re.findall(r"\{(\w+)\}", endpoint.path)],
        "responses": _responses(endpoint),
    }
    if endpoint.open:
        found["security"] = []
    if endpoint.takes is not None:
        found["requestBody"] = {"required": endpoint.binary, "content": _content(endpoint.takes, endpoint.binary)}
    if endpoint.binary:
        found["parameters"].append(_header(HEADER_LENGTH, "Bytes of JSON before the raw tensors."))
        found["parameters"].append(_header("Synfire-Timeout-Ms", "Milliseconds that the request may take."))
    return found


def _responses(endpoint: Endpoint) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if endpoint.gives is not None:
        content = _content(endpoint.gives, endpoint.binary) | (_content(EVENTS, False) if endpoint.events else {})
        found[str(OK)] = {"description": REASONS[OK], "content": content}
    error = {"content": {JSON: {"schema": _schema(endpoint.error)}}}
    fails = endpoint.fails if endpoint.open else (UNAUTHENTICATED, *endpoint.fails)
    return found | {str(status): {"description": REASONS[status], **error} for status in fails}


def _content(kind: Any, binary: bool) -> dict[str, Any]:
    if not _typed(kind):
        return {kind: {"schema": {"type": "string"}}}
    raw = {BINARY: {"schema": {"type": "string", "format": "binary"}}} if binary else {}
    return {JSON: {"schema": _schema(kind)}, **raw}


def _schema(kind: Any) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([kind], ref_template=_REFERENCE)
    return schema


def _parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _header(name: str, text: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": text, "schema": {"type": "integer", "minimum": 0}}


def _typed(kind: Any) -> bool:
    return kind is not None and not isinstance(kind, str)


def _endpoints(others: tuple[Endpoint, ...]) -> Iterable[Endpoint]:
    async def document(request: HttpRequest) -> HttpResponse:
        return HttpResponse(body)

    own = Endpoint("GET", "/openapi.json", document, "This document", None, dict[str, Any])
    body = msgspec.json.encode(openapi((*others, own)))
    return (own,)


APIS.add("openapi", Api(lists=_endpoints))
