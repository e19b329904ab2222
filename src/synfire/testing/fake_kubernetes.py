"""A Kubernetes API server in this process, over real HTTP: what the controller needs of one, with nobody behind it.

It keeps objects, counts versions, lets watches follow, refuses stale writes, waits for finalizers and collects what has lost its owner.
It checks no schema and starts no Pod: `pods_of` makes those that a StatefulSet's controller would. What it is asked is on record.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import re
import threading
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from synfire.testing.answering import answering

Document = dict[str, Any]
Send = Callable[[Document], Awaitable[None]]
Place = tuple[str, str]
"""The path of a kind's API, and its plural."""

OF_CLUSTER = ("nodes", "namespaces", "customresourcedefinitions")

_PATH = re.compile(
    r"/(?P<api>api/v1|apis/[^/]+/[^/]+)(/namespaces/(?P<namespace>[^/]+))?/(?P<plural>[a-z]+)(/(?P<name>[^/]+))?(/(?P<part>status|scale))?"
)
_GROUPS = {
    "policy": ("policy/v1",),
    "autoscaling": ("autoscaling/v2", "autoscaling/v1"),
    "apps": ("apps/v1",),
    "synfire.dev": ("synfire.dev/v1alpha1",),
}


class Asked(NamedTuple):
    """One request: its verb as RBAC calls it, the API group, the plural with its part, and which object."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str


class Refusal(Exception):
    """Raised within the server: what is answered."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message


class FakeKubernetes:
    """Objects by place and name. `refuse` may answer any request otherwise: it is given each, and raises a `Refusal`, or `ConnectionError`
    to break the connection."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[Asked] = []
        self.refuse: Callable[[Asked], None] = lambda asked: None
        self.groups: dict[str, tuple[str, ...]] = dict(_GROUPS)
        self.oldest = 0
        self.collects = True
        """Whether what has lost its owner goes, too; a cluster takes its time for that."""

        self._objects: dict[Place, dict[tuple[str, str], Document]] = {}
        self._version = 1
        self._events: list[tuple[int, Place, str, Document]] = []
        self._news = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._breaks = 0
        self._lock = threading.RLock()

    def put(self, document: Document) -> Document:
        """Have an object there, as if somebody had applied it: made, or changed."""
        with self._lock:
            place, name = self._place(document), _name(document)
            seen = self._objects.get(place, {}).get(name)
            if seen is None:
                return self._create(place, copy.deepcopy(document))
            fresh = {**copy.deepcopy(document), "metadata": {**seen["metadata"], **document["metadata"]}}
            fresh["metadata"]["resourceVersion"] = seen["metadata"]["resourceVersion"]
            written = self._replace(place, seen, fresh, "")
            if "status" not in document or written.get("status") == document["status"]:
                return written
            told = {**written, "status": copy.deepcopy(document["status"])}
            return self._replace(place, written, told, "status")

    def get(self, plural: str, name: str, namespace: str = "default") -> Document:
        """An object as it is. Raises `KeyError`."""
        with self._lock:
            for (_, each), found in self._objects.items():
                if each == plural:
                    return copy.deepcopy(found["" if plural in OF_CLUSTER else namespace, name])
        raise KeyError(plural)

    def all(self, plural: str) -> list[Document]:
        """All objects of a kind."""
        with self._lock:
            return [
                copy.deepcopy(o) for (_, each), found in self._objects.items() if each == plural for o in found.values()
            ]

    def count(self, plural: str, suits: Callable[[Document], bool] = lambda found: True) -> int:
        """How many objects of a kind suit; none is copied."""
        with self._lock:
            found = [each for (_, known), each in self._objects.items() if known == plural]
            return sum(suits(document) for each in found for document in each.values())

    def delete(self, plural: str, name: str, namespace: str = "default") -> None:
        """As somebody with `kubectl delete`."""
        with self._lock:
            place = next(each for each in self._objects if each[1] == plural)
            self._delete(place, ("" if plural in OF_CLUSTER else namespace, name), {})

    def forget(self) -> None:
        """No watch can go on from what was before now: it is told that its version has gone."""
        with self._lock:
            self.oldest = self._version
            self._events.clear()
            self._wake()

    def break_watches(self) -> None:
        """Break the connection of every watch."""
        self._breaks += 1
        self._wake()

    @contextmanager
    def running(self) -> Iterator[FakeKubernetes]:
        """Answer at `url`, from a thread of its own."""
        with answering(self._app, "fake-kubernetes") as self.url:
            try:
                yield self
            finally:
                self.break_watches()

    async def _app(self, scope: Document, receive: Callable[[], Awaitable[Document]], send: Send) -> None:
        self._loop = asyncio.get_running_loop()
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        query = {name: values[-1] for name, values in parse_qs(scope["query_string"].decode()).items()}
        try:
            answer = self._answer(scope["method"], scope["path"], query, json.loads(body) if body else {})
        except Refusal as error:
            await _send(send, error.code, _status(error))
            return
        if isinstance(answer, _Watch):
            await self._stream(answer, send)
            return
        await _send(send, 201 if scope["method"] == "POST" else 200, answer)

    def _answer(self, method: str, path: str, query: dict[str, str], content: Document) -> Any:
        if path == "/apis":
            return {"groups": [_group(name, versions) for name, versions in self.groups.items()]}
        found = _PATH.fullmatch(path)
        if found is None:
            raise Refusal(404, "NotFound", f"the server could not find {path}")
        place = (found["api"], found["plural"])
        namespace, name, part = found["namespace"] or "", found["name"] or "", found["part"] or ""
        asked = Asked(
            _verb(method, name, query),
            _group_of(found["api"]),
            place[1] + (f"/{part}" if part else ""),
            namespace,
            name,
        )
        with self._lock:
            self.asked.append(asked)
            self.refuse(asked)
            match asked.verb:
                case "get":
                    return self._one(place, (namespace, name))
                case "list":
                    return self._list(place, namespace, query)
                case "watch":
                    return _Watch(place, namespace, int(query.get("resourceVersion") or 0), _selector(query))
                case "create":
                    return self._create(place, content, namespace)
                case "update":
                    return self._replace(place, self._one(place, (namespace, name)), content, part)
                case "patch":
                    seen = self._one(place, (namespace, name))
                    return self._replace(place, seen, _patched(seen, content), part)
                case _:
                    return self._delete(place, (namespace, name), content)

    def _one(self, place: Place, name: tuple[str, str]) -> Document:
        found = self._objects.get(place, {}).get(name)
        if found is None:
            raise Refusal(404, "NotFound", f'{place[1]} "{name[1]}" not found')
        return found

    def _list(self, place: Place, namespace: str, query: dict[str, str]) -> Document:
        selector, start = _selector(query), int(query.get("continue") or 0)
        found = [
            each
            for (space, _), each in sorted(self._objects.get(place, {}).items())
            if (not namespace or space == namespace) and _suits(each, selector)
        ]
        limit = int(query.get("limit") or len(found) or 1)
        more = {"continue": str(start + limit)} if start + limit < len(found) else {}
        items = [{name: value for name, value in each.items() if name not in ("apiVersion", "kind")} for each in found]
        return {"items": items[start : start + limit], "metadata": {"resourceVersion": str(self._version), **more}}

    def _create(self, place: Place, content: Document, namespace: str = "") -> Document:
        metadata = content["metadata"]
        if namespace:
            metadata["namespace"] = namespace
        name = _name(content)
        if name in self._objects.setdefault(place, {}):
            raise Refusal(409, "AlreadyExists", f'{place[1]} "{name[1]}" already exists')
        metadata |= {"uid": str(uuid.uuid4()), "generation": 1, "creationTimestamp": _now()}
        if given := content.pop("stringData", None):
            content["data"] = {key: base64.b64encode(value.encode()).decode() for key, value in given.items()}
        return self._keep(place, "ADDED", content)

    def _replace(self, place: Place, seen: Document, content: Document, part: str) -> Document:
        before, after = seen["metadata"], content["metadata"]
        if after.get("resourceVersion") not in (None, before["resourceVersion"]):
            raise Refusal(
                409, "Conflict", f'the object has been modified; please apply your changes to "{before["name"]}" again'
            )
        fresh = {**seen, "status": content.get("status", {})} if part == "status" else {**content}
        if part != "status":
            if "status" in seen:
                fresh["status"] = seen["status"]
            kept = ("uid", "creationTimestamp", "deletionTimestamp", "namespace", "name")
            metadata = {
                **after,
                **{name: before[name] for name in kept if name in before},
                "generation": before["generation"],
            }
            if fresh.get("spec") != seen.get("spec"):
                metadata["generation"] += 1
            fresh["metadata"] = metadata
        else:
            fresh["metadata"] = dict(before)
        if {**fresh, "metadata": {**fresh["metadata"], "resourceVersion": ""}} == {
            **seen,
            "metadata": {**before, "resourceVersion": ""},
        }:
            return seen
        if "deletionTimestamp" in fresh["metadata"] and not fresh["metadata"].get("finalizers"):
            return self._gone(place, fresh)
        return self._keep(place, "MODIFIED", fresh)

    def _delete(self, place: Place, name: tuple[str, str], options: Document) -> Document:
        seen = self._one(place, name)
        uid = options.get("preconditions", {}).get("uid")
        if uid not in (None, seen["metadata"]["uid"]):
            raise Refusal(409, "Conflict", f'the uid of "{name[1]}" is another one')
        waits = options.get("gracePeriodSeconds") != 0 and self._has_lost_its_node(place, seen)
        if waits or seen["metadata"].get("finalizers"):
            metadata = {**seen["metadata"], "deletionTimestamp": _now()}
            return self._keep(place, "MODIFIED", {**seen, "metadata": metadata})
        return self._gone(place, seen)

    def _has_lost_its_node(self, place: Place, seen: Document) -> bool:
        """Whether a Pod waits for a node to end it that does not answer: it waits for ever."""
        node = seen.get("spec", {}).get("nodeName") if place[1] == "pods" else None
        found = self._objects.get((place[0], "nodes"), {}).get(("", node)) if node else None
        told = found.get("status", {}).get("conditions", ()) if found else ()
        return any(each["type"] == "Ready" and each["status"] == "Unknown" for each in told)

    def _gone(self, place: Place, seen: Document) -> Document:
        self._objects[place].pop(_name(seen), None)
        self._tell(place, "DELETED", seen)
        uid = seen["metadata"]["uid"] if self.collects else None
        for other, found in list(self._objects.items()):
            for name, each in list(found.items()):
                if any(owner["uid"] == uid for owner in each["metadata"].get("ownerReferences", ())):
                    self._delete(other, name, {})
        return seen

    def _keep(self, place: Place, kind: str, content: Document) -> Document:
        self._objects.setdefault(place, {})[_name(content)] = content
        self._tell(place, kind, content)
        return content

    def _tell(self, place: Place, kind: str, content: Document) -> None:
        self._version += 1
        content["metadata"] = {**content["metadata"], "resourceVersion": str(self._version)}
        self._events.append((self._version, place, kind, content))
        self._wake()

    def _wake(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._announce)

    def _announce(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _stream(self, watch: _Watch, send: Send) -> None:
        """A broken watch ends in the midst of its body, as it does where a connection is lost."""
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        at, breaks = watch.version, self._breaks
        while True:
            news = self._news
            if breaks != self._breaks:
                raise ConnectionResetError("the watch was broken")
            with self._lock:
                if at < self.oldest:
                    await _send_line(
                        send, {"type": "ERROR", "object": _status(Refusal(410, "Expired", "too old resource version"))}
                    )
                    break
                fresh = self._after(at)
                at = self._version
            for _, place, kind, content in fresh:
                space = content["metadata"].get("namespace", "")
                if place == watch.place and watch.namespace in ("", space) and _suits(content, watch.selector):
                    await _send_line(send, {"type": kind, "object": content})
            await news.wait()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _after(self, version: int) -> list[tuple[int, Place, str, Document]]:
        first = next((n for n in range(len(self._events), 0, -1) if self._events[n - 1][0] <= version), 0)
        return self._events[first:]

    def _place(self, document: Document) -> Place:
        from synfire.kubernetes.cluster.kinds import path_of

        head, _, plural = path_of(document["apiVersion"], document["kind"]).rpartition("/")
        return head.lstrip("/"), plural


class _Watch(NamedTuple):
    place: Place
    namespace: str
    version: int
    selector: _Selector


def pods_of(stateful_set: Document, node: str = "node-1", ready: bool = True) -> list[Document]:
    """The Pods that Kubernetes would make for a StatefulSet, as they are when they run."""
    template, name = stateful_set["spec"]["template"], stateful_set["metadata"]["name"]
    status = {
        "phase": "Running",
        "podIP": "10.0.0.1",
        "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
    }
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{name}-{number}",
                "namespace": stateful_set["metadata"]["namespace"],
                "labels": dict(template["metadata"]["labels"]),
            },
            "spec": {**template["spec"], "nodeName": node},
            "status": status,
        }
        for number in range(stateful_set["spec"]["replicas"])
    ]


def _verb(method: str, name: str, query: dict[str, str]) -> str:
    if method == "GET":
        return "get" if name else "watch" if query.get("watch") == "true" else "list"
    return {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}[method]


def _group_of(api: str) -> str:
    return "" if api == "api/v1" else api.split("/")[1]


def _group(name: str, versions: tuple[str, ...]) -> Document:
    return {"name": name, "versions": [{"groupVersion": each} for each in versions]}


class _Selector(NamedTuple):
    labels: dict[str, str]
    fields: dict[str, str]


def _selector(query: dict[str, str]) -> _Selector:
    given = (query.get(each, "").split(",") for each in ("labelSelector", "fieldSelector"))
    return _Selector(*(dict(each.split("=", 1) for each in parts if each) for parts in given))


def _suits(document: Document, selector: _Selector) -> bool:
    fields = all(_field(document, path) == value for path, value in selector.fields.items())
    return fields and selector.labels.items() <= document["metadata"].get("labels", {}).items()


def _field(document: Document, path: str) -> Any:
    found: Any = document
    for each in path.split("."):
        found = found.get(each, {})
    return found


def _patched(seen: Any, change: Any) -> Any:
    if not isinstance(change, dict):
        return change
    found = dict(seen) if isinstance(seen, dict) else {}
    for name, value in change.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = _patched(found.get(name), value)
    return found


def _name(document: Document) -> tuple[str, str]:
    return document["metadata"].get("namespace", ""), document["metadata"]["name"]


def _status(error: Refusal) -> Document:
    return {"kind": "Status", "status": "Failure", "code": error.code, "reason": error.reason, "message": error.message}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def _send(send: Send, code: int, content: Any) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(content).encode()})


async def _send_line(send: Send, content: Document) -> None:
    await send({"type": "http.response.body", "body": json.dumps(content).encode() + b"\n", "more_body": True})
