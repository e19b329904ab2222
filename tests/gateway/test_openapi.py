"""The OpenAPI document, and schemathesis against it."""

from __future__ import annotations

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from synfire.gateway.api import endpoints_of
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.protocols.openapi import openapi

# A body that fits the schema may still not fit the model, so what is accepted is left to the other tests. No endpoint
# documents 500, so a server error is a status that does not conform; 501 and 503 are answers like others.
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]


schema = schemathesis.openapi.from_dict(openapi(endpoints_of(DataPlane())))


@pytest.mark.slow
@schema.parametrize()
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_endpoint_keeps_to_the_document(case, gateway):
    case.call_and_validate(base_url=gateway.addresses.url, checks=CHECKS)


def test_the_document_lists_every_endpoint(gateway):
    served = httpx.get(f"{gateway.addresses.url}/openapi.json").json()["paths"]
    endpoints = gateway.call(lambda: endpoints_of(gateway.plane))
    assert {(each.path, each.method.lower()) for each in endpoints} == {
        (path, method) for path, methods in served.items() for method in methods
    }
    names = [
        operation["operationId"] for methods in openapi(endpoints)["paths"].values() for operation in methods.values()
    ]
    assert len(names) == len(set(names))
