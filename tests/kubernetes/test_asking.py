"""How the controller looks at a deployment, one answer after the other."""

from __future__ import annotations

import asyncio

import httpx

from synfire.kubernetes.controller.asking import TOLD, Asking

MODELS = "/api/deployment/models"
NET = {
    "name": "net",
    "wish": {"source": "net"},
    "status": "served",
    "reason": "",
    "replicas": 1,
    "replicas_ready": 1,
    "stages": [],
}


def seen(asked: list[str], began_anew_after: str) -> tuple[bool, list[str]]:
    """What is seen of a deployment that knows a model, and in whose place there is one that knows none, after an answer: whether all was told,
    and the models."""
    new = False

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal new
        path = request.url.path
        asked.append(path)
        found = {TOLD: {"told": not new}, MODELS: [] if new else [NET], "/api/deployment/vacancies": {"places": {}}}
        new = new or path == began_anew_after
        return httpx.Response(200, json=found.get(path, []))

    async def key() -> str:
        return ""

    async def look() -> tuple[bool, list[str]]:
        asking = Asking("http://deployment", key)
        await asking._http.aclose()
        asking._http = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://deployment")
        found = await asking.look()
        await asking.close()
        return found.told, list(found.models)

    return asyncio.run(look())


def test_nothing_is_to_be_told_of_models_that_a_deployment_before_knew() -> None:
    asked: list[str] = []
    assert seen(asked, "") == (True, ["net"])
    for path in asked:
        told, models = seen([], path)
        assert told or not models
