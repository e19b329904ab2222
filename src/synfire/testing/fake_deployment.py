"""A deployment's HTTP as the controller of Kubernetes objects asks it, with nobody behind it: it serves what it is asked for, at once."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from synfire.testing.answering import answering

_MODELS, _CHAINS = "/api/deployment/models", "/api/deployment/chains"


class FakeDeployment:
    """Each model has so many `stages`, spread over the `workers`. `loaded` says when each model was first asked for, in seconds of the
    monotonic clock."""

    def __init__(self, workers: int, stages: int) -> None:
        self.url = ""
        self.loaded: dict[str, float] = {}
        self._workers = [f"synfire-hosts-{number}" for number in range(workers)]
        self._stages = stages
        self._models: dict[str, bytes] = {}
        self._chains: dict[str, bytes] = {}

    def move(self, model: str, worker: int) -> None:
        """Have all stages of a model at one worker."""
        told = json.loads(self._models[model])
        for each in told["stages"]:
            each["worker"] = self._workers[worker]
        self._models[model] = json.dumps(told).encode()

    @contextmanager
    def running(self) -> Iterator[FakeDeployment]:
        """Answer at `url`, from a thread of its own."""
        with answering(self._app, "fake-deployment") as self.url:
            yield self

    async def _app(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        body = (await receive()).get("body", b"")
        status, content = self._answer(scope["method"], scope["path"], body)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    def _answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        if path.startswith(_CHAINS):
            return self._answer_of_chains(method, path.removeprefix(_CHAINS).strip("/"), body)
        name = path.removeprefix(_MODELS).strip("/") if path.startswith(_MODELS) else ""
        match method, path:
            case "GET", "/api/deployment/models":
                return 200, b"[" + b",".join(self._models.values()) + b"]"
            case "GET", "/api/workers":
                return 200, json.dumps(
                    [{"name": each, "ready": True, "url": "http://10.0.0.1:8000"} for each in self._workers]
                ).encode()
            case "GET", "/api/events" | "/api/deployment/traffic":
                return 200, b"[]"
            case "PUT", _ if name:
                self.loaded.setdefault(name, time.monotonic())
                self._models[name] = self._told(name, json.loads(body))
                return 202, self._models[name]
            case "DELETE", _ if name:
                self._models.pop(name, None)
                return 200, b""
        return 404, b'{"error": "there is no such path"}'

    def _answer_of_chains(self, method: str, name: str, body: bytes) -> tuple[int, bytes]:
        match method:
            case "PUT" if name:
                told = {"name": name, "chain": json.loads(body), "status": "served", "ready": True, "reason": ""}
                self._chains[name] = json.dumps(told).encode()
                return 202, self._chains[name]
            case "DELETE" if name:
                self._chains.pop(name, None)
                return 200, b""
        return 200, b"[" + b",".join(self._chains.values()) + b"]"

    def _told(self, name: str, wish: dict[str, Any]) -> bytes:
        first = sum(name.encode()) % len(self._workers)
        stages = [
            {
                "replica": name,
                "stage": f"fc{number}",
                "operators": [f"fc{number}"],
                "worker": self._workers[(first + number) % len(self._workers)],
                "engine": "cpu",
            }
            for number in range(self._stages)
        ]
        told = {"name": name, "wish": wish, "status": "served", "reason": "", "replicas": 1, "replicas_ready": 1}
        return json.dumps({**told, "stages": stages}).encode()
