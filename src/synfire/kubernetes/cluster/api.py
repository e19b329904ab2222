"""One connection to Kubernetes' API. Who we are, and whether the server is who it says, is lightkube's part; documents stay documents.

    ApiError            the server refused: `code` and `reason` are its own words for it
    ├── Gone            what was asked for is too old: list anew
    ├── Conflict        somebody else was quicker: look again
    └── Forbidden       we have no right to it: the message says which

It raises `TemporaryError` where the server is away or has too much to do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2
import msgspec
from lightkube.config.client_adapter import AsyncClient, ConnectionParams
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.core.exceptions import ConfigError

from synfire.base.errors import SynfireError, TemporaryError, UserError

Document = dict[str, Any]

SILENT_S = 90.0
"""How long a watch may say nothing, in seconds: the server tells at least once a minute how far it is. After that the connection is
taken for dead, and begun again from where it was."""

WATCH_S = 290
"""After so many seconds the server ends a watch, and it is begun again from where it was."""

ANSWER_S = 10.0
PAGE = 500

_TEMPORARY = (429, 500, 502, 503, 504)


class ApiError(SynfireError):
    """Raised where Kubernetes' API refuses what it was asked."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


class Gone(ApiError):
    """Raised where the server no longer knows what has changed since the version that was asked for."""


class Conflict(ApiError):
    """Raised where an object is there already, or is another version than the one that was seen."""


class Forbidden(ApiError):
    """Raised where this account has no right to what it asked."""


class Missing(ApiError):
    """Raised where there is no such object."""


_KINDS: Mapping[int, type[ApiError]] = {403: Forbidden, 404: Missing, 409: Conflict, 410: Gone}


def configured(context: str | None = None) -> SingleConfig:
    """Where the API is, and who we are there: `KUBECONFIG`, a Pod's own account, or `~/.kube/config`. Raises `UserError`."""
    try:
        found = KubeConfig.from_env().get(context)
    except (ConfigError, OSError, KeyError, msgspec.ValidationError) as error:
        raise UserError(f"no cluster is configured: {error}; set KUBECONFIG, or run this in a Pod") from error
    if found is None:
        raise UserError(
            "no cluster is configured; set KUBECONFIG to a file with a current context, or run this in a Pod"
        )
    return found


class Api:
    """Use it as an async context manager."""

    def __init__(self, config: SingleConfig) -> None:
        limits = ConnectionParams(timeout=httpx2.Timeout(ANSWER_S, pool=None))
        self._http = AsyncClient(config, limits)
        self.namespace = config.namespace

    async def __aenter__(self) -> Api:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._http.aclose()

    async def ask(
        self, method: str, path: str, content: Document | None = None, params: Mapping[str, str] | None = None
    ) -> Document:
        """One question and its answer. A `PATCH` is a merge: what is not said stays, and null takes away."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        body = None if content is None else msgspec.json.encode(content)
        try:
            answer = await self._http.request(
                method, path, content=body, params=params, headers={"content-type": kind, "accept": "application/json"}
            )
        except httpx2.HTTPError as error:
            raise TemporaryError(f"Kubernetes' API does not answer {method} {path}: {_words(error)}") from error
        if answer.status_code >= 400:
            raise _refused(answer.status_code, answer.content, f"{method} {path}")
        found: Document = msgspec.json.decode(answer.content)
        return found

    async def list(self, path: str, selector: str = "", fields: str = "") -> tuple[list[Document], str]:
        """All objects under a path, and the version at which that was so: those with the labels, and the fields, that are said."""
        found: list[Document] = []
        params = {"limit": str(PAGE)} | _chosen(selector, fields)
        while True:
            page = await self.ask("GET", path, params=params)
            found += page["items"] or ()
            more = page["metadata"].get("continue", "")
            if not more:
                return found, page["metadata"]["resourceVersion"]
            params["continue"] = more

    async def watch(
        self, path: str, version: str, selector: str = "", fields: str = ""
    ) -> AsyncIterator[tuple[str, Document]]:
        """What changes under a path from a version on, until the server ends that. Raises `Gone` where it no longer knows."""
        params = {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_S),
        } | _chosen(selector, fields)
        timeout = httpx2.Timeout(ANSWER_S, read=SILENT_S, pool=None)
        try:
            async with self._http.stream("GET", path, params=params, timeout=timeout) as answer:
                if answer.status_code >= 400:
                    raise _refused(answer.status_code, await answer.aread(), f"GET {path}")
                async for line in answer.aiter_lines():
                    event = msgspec.json.decode(line)
                    if event["type"] == "ERROR":
                        raise _refused(event["object"].get("code", 500), msgspec.json.encode(event["object"]), path)
                    yield event["type"], event["object"]
        except (httpx2.HTTPError, msgspec.DecodeError) as error:
            raise TemporaryError(f"the watch of {path} was lost: {_words(error)}") from error


def _chosen(selector: str, fields: str) -> dict[str, str]:
    given = {"labelSelector": selector, "fieldSelector": fields}
    return {name: value for name, value in given.items() if value}


def _refused(code: int, body: bytes, what: str) -> SynfireError:
    try:
        status = msgspec.json.decode(body)
        reason, message = str(status.get("reason", "")), str(status.get("message", ""))
    except (msgspec.DecodeError, AttributeError):
        reason, message = "", body[:200].decode(errors="replace")
    told = message or f"status {code}"
    if code in _TEMPORARY:
        return TemporaryError(f"{what}: Kubernetes' API says {told}")
    return _KINDS.get(code, ApiError)(code, reason or "Refused", told)


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
