"""Custom metrics of a cluster, as Prometheus and its adapter give them: what gateways tell of workers, told of the workers' Pods.

    python -m synfire.testing.kubernetes.metrics ADDRESS URL AUTHORITY CERTIFICATE KEY SERVING SERVING_KEY

Debian has neither, and a HorizontalPodAutoscaler asks for nothing else. A worker is called as its Pod, so a metric with the label
`worker` is one of the Pod. Nothing is kept: whenever somebody asks for a metric, the gateways of that namespace are asked.
"""

from __future__ import annotations

import base64
import ssl
import sys
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import httpx
import uvicorn
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

GROUP, VERSION = "custom.metrics.k8s.io", "v1beta1"
API = f"{GROUP}/{VERSION}"
NAME = f"{VERSION}.{GROUP}"
PORT = 6444

LABEL = "worker"
USUAL = "synfire_worker_requests"
SERVICE, SECRET = "synfire", "synfire-keys"
"""Of the deployment of a namespace."""

GATEWAY = 8000


class Metrics:
    """Asks the API server by `caller` where gateways and Pods are."""

    def __init__(self, caller: httpx.AsyncClient) -> None:
        self._caller = caller

    async def names(self, _: Request) -> Response:
        """What there is. Any other metric of workers is told as well, but Kubernetes takes a list without any for an error."""
        found = [{"name": f"pods/{USUAL}", "namespaced": True, "kind": "MetricValueList", "verbs": ["get"]}]
        return JSONResponse({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": API, "resources": found})

    async def values(self, request: Request) -> Response:
        """A metric of the Pods that a selector finds, as far as the gateways tell of them."""
        namespace, metric = request.path_params["namespace"], request.path_params["metric"]
        try:
            pods = await self._found(namespace, "pods", request.query_params.get("labelSelector", ""))
            told = by_worker(await self._told(namespace), metric)
        except httpx.HTTPError as error:
            return JSONResponse({"error": f"{metric} cannot be had: {error or type(error).__name__}"}, 503)
        names = [each["metadata"]["name"] for each in pods["items"]]
        return JSONResponse(listed(namespace, metric, {name: told[name] for name in names if name in told}))

    async def _told(self, namespace: str) -> str:
        """What the gateways of a namespace tell of themselves."""
        address = (await self._found(namespace, f"services/{SERVICE}"))["spec"]["clusterIP"]
        key = base64.b64decode((await self._found(namespace, f"secrets/{SECRET}"))["data"]["api-key"]).decode()
        async with httpx.AsyncClient(trust_env=False) as asking:
            answer = await asking.get(f"http://{address}:{GATEWAY}/metrics", headers={"authorization": f"Bearer {key}"})
        return answer.raise_for_status().text

    async def _found(self, namespace: str, what: str, selector: str = "") -> Any:
        asked = {"labelSelector": selector}
        answer = await self._caller.get(f"/api/v1/namespaces/{namespace}/{what}", params=asked)
        return answer.raise_for_status().json()


def by_worker(told: str, metric: str) -> dict[str, float]:
    """The metric's values, as Prometheus reads them, added up for each worker."""
    found: dict[str, float] = defaultdict(float)
    for family in text_string_to_metric_families(told):
        for sample in family.samples:
            if sample.name == metric and LABEL in sample.labels:
                found[sample.labels[LABEL]] += sample.value
    return dict(found)


def listed(namespace: str, metric: str, values: Mapping[str, float]) -> dict[str, Any]:
    """Values of Pods, as the API of custom metrics has them: to a thousandth."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    items = [
        {
            "describedObject": {"kind": "Pod", "namespace": namespace, "name": name, "apiVersion": "/v1"},
            "metricName": metric,
            "timestamp": now,
            "value": f"{round(value * 1000)}m",
        }
        for name, value in values.items()
    ]
    return {"kind": "MetricValueList", "apiVersion": API, "metadata": {}, "items": items}


def documents(address: str, authority: bytes) -> list[dict[str, Any]]:
    """What has the API server ask at that address, which shows a certificate of the authority."""
    name, space = "synfire-metrics", "kube-system"
    metadata, port = {"name": name, "namespace": space}, {"port": 443, "protocol": "TCP"}
    spec = {
        "group": GROUP,
        "version": VERSION,
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
        "caBundle": base64.b64encode(authority).decode(),
        "service": {"name": name, "namespace": space, "port": 443},
    }
    subset = {"addresses": [{"ip": address}], "ports": [{"port": PORT, "protocol": "TCP"}]}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"ports": [{**port, "targetPort": PORT}]},
        },
        {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": [subset]},
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": NAME},
            "spec": spec,
        },
    ]


def main(address: str, url: str, authority: str, certificate: str, key: str, serving: str, serving_key: str) -> None:
    """Answer until ended."""
    trusted = ssl.create_default_context(cafile=authority)
    trusted.load_cert_chain(certificate, key)
    metrics = Metrics(httpx.AsyncClient(base_url=url, verify=trusted, trust_env=False, timeout=10))
    place = f"/apis/{API}"
    routes = [
        Route(place, metrics.names),
        Route(f"{place}/namespaces/{{namespace}}/pods/{{pod}}/{{metric}}", metrics.values),
    ]
    uvicorn.run(
        Starlette(routes=routes),
        host=address,
        port=PORT,
        ssl_certfile=serving,
        ssl_keyfile=serving_key,
        log_level="warning",
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
