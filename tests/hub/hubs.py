"""Places on the network, as they behave: a hub with a store of large files behind it, on loopback."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote

import uvicorn

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

SHA = "c0ffee" * 6 + "0000"


@dataclass
class Seen:
    """One request as it came."""

    path: str
    headers: dict[str, str]


@dataclass
class Place:
    """Files by path, and how they are given. What a test sets holds from the next request on.

    `breaks` are the bytes after which the connections of the next answers break, `stalls` those after which nothing comes any more.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    breaks: list[int] = field(default_factory=list)
    stalls: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    ranges: bool = True
    etags: bool = True
    token: str = ""
    packed: bool = False
    seen: list[Seen] = field(default_factory=list)
    url: str = ""

    def asked(self, path: str) -> list[Seen]:
        return [each for each in self.seen if each.path == path]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        query = scope["query_string"].decode()
        path = unquote(scope["path"])
        self.seen.append(Seen(path, headers))
        if self.statuses:
            await answer(send, self.statuses.pop(0), b"busy", {"retry-after": "7"})
        elif self.token and headers.get("authorization") != f"Bearer {self.token}":
            await answer(send, 401, b"who are you?")
        else:
            await self.give(path, parse_qs(query), headers, _stalling(receive, send, self.stalls))

    async def give(self, path: str, query: dict[str, list[str]], headers: dict[str, str], send: Send) -> None:
        await self.file(self.files.get(path), headers, send)

    async def file(self, content: bytes | None, headers: dict[str, str], send: Send) -> None:
        if content is None:
            return await answer(send, 404, b"no such file")
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        own = {"etag": etag} if self.etags else {}
        if self.packed:
            own["content-encoding"] = "gzip"
        first, status = 0, 200
        asked = headers.get("range", "").removeprefix("bytes=").removesuffix("-")
        if asked and self.ranges and headers.get("if-range", etag) == etag:
            first, status = int(asked), 206
            if first >= len(content):
                return await answer(send, 416, b"", {"content-range": f"bytes */{len(content)}"})
            own["content-range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        return await answer(send, status, content[first:], own, self.breaks.pop(0) if self.breaks else None)


def _stalling(receive: Receive, send: Send, stalls: list[int]) -> Send:
    """A `send` that stops in the midst of a body until the caller is gone, if that is to be."""
    if not stalls:
        return send
    count = stalls.pop(0)

    async def sending(message: Any) -> None:
        if message["type"] == "http.response.body":
            await send({**message, "body": message["body"][:count], "more_body": True})
            while (await receive())["type"] != "http.disconnect":
                pass
        else:
            await send(message)

    return sending


async def answer(
    send: Send, status: int, body: bytes, headers: dict[str, str] | None = None, breaks: int | None = None
) -> None:
    """An answer; one that `breaks` after so many bytes is never completed, and its connection is closed."""
    plain = {"content-length": str(len(body)), **(headers or {})}
    pairs = [(name.encode(), value.encode()) for name, value in plain.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    if breaks is not None:
        await send({"type": "http.response.body", "body": body[:breaks], "more_body": True})
        return
    await send({"type": "http.response.body", "body": body})


class HuggingFace(Place):
    """A hub: listings in pages, small files itself, large ones by a redirect to another place."""

    def __init__(self, large: Place, repository: str = "org/shake", **more: Any) -> None:
        super().__init__(**more)
        self.large, self.repository = large, repository
        self.page = 2
        self.small_bytes = 4096
        self.lies: dict[str, str] = {}

    async def give(self, path: str, query: dict[str, list[str]], headers: dict[str, str], send: Send) -> None:
        start = f"/api/models/{self.repository}"
        if path == f"{start}/revision/main":
            return await answer(send, 200, json.dumps({"sha": SHA}).encode())
        if path == f"{start}/tree/{SHA}":
            return await self.listing(int(query.get("cursor", ["0"])[0]), send)
        resolve = f"/{self.repository}/resolve/{SHA}/"
        name = path.removeprefix(resolve)
        if not path.startswith(resolve) or name not in self.files:
            return await answer(send, 404, b"Repository not found")
        if self.is_large(name):
            self.large.files[f"/signed/{name}"] = self.files[name]
            return await answer(send, 302, b"", {"location": f"{self.large.url}/signed/{name}?signature=x"})
        return await self.file(self.files[name], headers, send)

    def is_large(self, name: str) -> bool:
        return len(self.files[name]) > self.small_bytes

    async def listing(self, first: int, send: Send) -> None:
        names = sorted(self.files)
        entries = [{"type": "directory", "path": "folder", "oid": "0" * 40, "size": 0}] if first == 0 else []
        entries += [self.entry(name) for name in names[first : first + self.page]]
        following = first + self.page
        link = f'<{self.url}/api/models/{self.repository}/tree/{SHA}?recursive=true&cursor={following}>; rel="next"'
        headers = {"link": link} if following < len(names) else {}
        await answer(send, 200, json.dumps(entries).encode(), headers)

    def entry(self, name: str) -> dict[str, Any]:
        content = self.files[name]
        sha1 = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        entry: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": self.lies.get(name, sha1)}
        if self.is_large(name):
            digest = self.lies.get(name, hashlib.sha256(content).hexdigest())
            entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 130}
        return entry


class ModelScope(Place):
    """The other hub: one listing, files by a query."""

    async def give(self, path: str, query: dict[str, list[str]], headers: dict[str, str], send: Send) -> None:
        start = "/api/v1/models/org/shake/repo"
        if path == f"{start}/files":
            entries: list[dict[str, Any]] = [{"Path": "folder", "Type": "tree", "Size": 0}]
            entries += [
                {"Path": name, "Type": "blob", "Size": len(each), "Sha256": hashlib.sha256(each).hexdigest()}
                for name, each in self.files.items()
            ]
            await answer(send, 200, json.dumps({"Code": 200, "Data": {"Files": entries}}).encode())
        elif path == start and query["Revision"] == ["master"]:
            await self.file(self.files.get(query["FilePath"][0]), headers, send)
        else:
            await answer(send, 404, b"{}")


@contextmanager
def served(place: Place) -> Iterator[Place]:
    """The place on a free port of loopback, for the block."""
    config = uvicorn.Config(place, host="127.0.0.1", port=0, log_level="critical", lifespan="off", timeout_keep_alive=1)
    server, socket = uvicorn.Server(config), config.bind_socket()
    socket.listen()  # from here on callers wait in its queue until the server takes them
    place.url = f"http://127.0.0.1:{socket.getsockname()[1]}"
    thread = threading.Thread(target=server.run, args=([socket],))
    thread.start()
    try:
        yield place
    finally:
        server.should_exit = True
        thread.join()
        socket.close()
