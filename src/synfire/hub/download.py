"""Files over HTTP into the store: resumed where they were broken off, checked, and fetched once however many want them."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from synfire.base.errors import PermanentError, TemporaryError, UnknownName, UserError
from synfire.hub.network import httpx
from synfire.hub.watcher import Watcher
from synfire.store import BlobStore
from synfire.store.incoming import Incoming, WrongDigest

TRIES = 5
"""How often a connection may break without having brought anything before it is given up."""
PAUSE_S = 0.5
"""The pause after the first break; it doubles with each one in a row."""
TIMEOUT_S, CONNECT_S = 30.0, 10.0
SMALL = 16 * 2**20
"""What is read whole, into memory: listings and manifests."""

_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class Away(TemporaryError):
    """Raised when a place on the network cannot be reached, or says that it is busy; a copy from before may serve."""


@dataclass(frozen=True)
class Remote:
    """A file at some place. `sha256` and `size` are what is announced, empty and None where nothing is."""

    url: str
    name: str
    size: int | None = None
    sha256: str = ""

    @property
    def key(self) -> str:
        """What its download is known by: its digest, or where that is not known its place's."""
        return self.sha256 or hashlib.sha256(self.url.encode()).hexdigest()


@dataclass(frozen=True)
class Site:
    """A place on the network: what its requests carry, and how people call it (`the hub hf.co`).

    `denied` says what to do where it wants a key.
    """

    client: httpx.Client
    called: str
    denied: str
    headers: Mapping[str, str] = field(default_factory=dict)
    pause: Callable[[float], None] = time.sleep

    def get(self, url: str) -> httpx.Response:
        """A small answer, whole. Raises `Away`, `UnknownName`, `UserError`, `PermanentError`."""
        for number in range(TRIES - 1):
            try:
                return self._get(url)
            except httpx.ConnectError as error:
                raise self.away(error) from error
            except httpx.TransportError:
                self.pause(PAUSE_S * 2**number)
        try:
            return self._get(url)
        except httpx.TransportError as error:
            raise self.away(error) from error

    def _get(self, url: str) -> httpx.Response:
        with self.client.stream("GET", url, headers=self.headers) as response:
            content = bytearray()
            for piece in response.iter_bytes():
                content += piece
                if len(content) > SMALL:
                    raise PermanentError(f"{self.called} answers {url} with more than {SMALL} bytes, which is not read")
            self.check(response)
            kept = {name: response.headers[name] for name in ("link", "content-type") if name in response.headers}
            return httpx.Response(response.status_code, headers=kept, content=bytes(content), request=response.request)

    def check(self, response: httpx.Response) -> None:
        """Raise what an answer of an error means."""
        status = response.status_code
        if status < 400:
            return
        said = f"{self.called} answers {status} for {response.request.url}"
        if status in (401, 403):
            raise UserError(f"{said}; {self.denied}")
        if status in (404, 410):
            raise UnknownName(f"{said}: there is no such model or file there; check how it is written")
        if status == 429 or status >= 500:
            raise Away(said, _retry_after(response))
        raise PermanentError(said)

    def away(self, error: Exception) -> Away:
        """The error for a place that cannot be reached."""
        return Away(f"{self.called} is away ({str(error) or type(error).__name__}); try again later", 30.0)


def download(site: Site, remote: Remote, blobs: BlobStore, watcher: Watcher) -> str:
    """Fetch a file into `blobs` and return its digest; what is there already is not fetched, what was begun is resumed.

    Two processes that want one file fetch it once. Raises `Away` where the place cannot be reached or a connection breaks again and
    again, `WrongDigest` for other bytes than announced, `TemporaryError` for a full disk, and as `Site.check` does.
    """
    if remote.sha256 and remote.sha256 in blobs:
        return remote.sha256
    waiting = lambda: watcher.say(f"another process is fetching {remote.name}; waiting for it")  # noqa: E731
    with Incoming(blobs, remote.key, waiting) as incoming:
        if remote.sha256 and remote.sha256 in blobs:
            return remote.sha256
        watcher.begin(remote.name, remote.size, incoming.size)
        try:
            _Download(site, remote, incoming, watcher).run()
            return incoming.finish(remote.sha256)
        finally:
            watcher.end()


class _Download:
    """One file on its way, over as many connections as it takes."""

    def __init__(self, site: Site, remote: Remote, incoming: Incoming, watcher: Watcher) -> None:
        self._site, self._remote, self._incoming, self._watcher = site, remote, incoming, watcher

    def run(self) -> None:
        breaks = 0
        while True:
            before = self._incoming.size
            try:
                return self._fetch()
            except httpx.TransportError as error:
                breaks = 1 if self._incoming.size > before else breaks + 1
                if breaks >= TRIES or isinstance(error, httpx.ConnectError | httpx.UnsupportedProtocol):
                    raise self._site.away(error) from error
                self._site.pause(PAUSE_S * 2 ** (breaks - 1))

    def _fetch(self) -> None:
        """Get the rest over one connection, from where it was broken off."""
        if self._incoming.size and self._incoming.size == self._remote.size:
            return
        with self._site.client.stream("GET", self._remote.url, headers=self._headers()) as response:
            if response.status_code == 416:
                self._beyond(response)
            else:
                self._site.check(response)
                self._take(response)

    def _take(self, response: httpx.Response) -> None:
        self._check_plain(response)
        if not self._goes_on(response):
            self._begin_anew(response)
        self._check_room(response)
        for piece in response.iter_raw():
            self._write(piece)

    def _headers(self) -> dict[str, str]:
        headers = {**self._site.headers, "accept-encoding": "identity"}
        validator = self._incoming.validator
        if self._incoming.size and (self._remote.sha256 or validator):
            headers["range"] = f"bytes={self._incoming.size}-"
            if validator:
                headers["if-range"] = validator
        return headers

    def _goes_on(self, response: httpx.Response) -> bool:
        """Whether the answer begins where what is there ends."""
        found = _RANGE.fullmatch(response.headers.get("content-range", ""))
        return response.status_code == 206 and found is not None and int(found[1]) == self._incoming.size

    def _begin_anew(self, response: httpx.Response) -> None:
        """From the first byte on, remembering what the bytes belong to."""
        etag = response.headers.get("etag", "")
        strong = etag if etag and not etag.startswith("W/") else ""
        self._incoming.restart(strong or response.headers.get("last-modified", ""))
        self._watcher.again(0)

    def _beyond(self, response: httpx.Response) -> None:
        """Nothing comes after what is there: because it is all, or no beginning of what is at the place now."""
        if response.headers.get("content-range") == f"bytes */{self._incoming.size}":
            return
        self._begin_anew(response)
        raise httpx.ReadError("what was there is no beginning of what is there now")

    def _check_plain(self, response: httpx.Response) -> None:
        packed = response.headers.get("content-encoding", "identity")
        if packed != "identity":
            raise PermanentError(
                f"{self._site.called} sends {self._remote.name} packed with {packed}, though plain bytes were asked for; "
                "get the file in another way, and pull it from there"
            )

    def _check_room(self, response: httpx.Response) -> None:
        length = response.headers.get("content-length", "")
        wanted = int(length) if length.isdigit() else 0
        room = os.statvfs(self._incoming.folder)
        if wanted > room.f_bavail * room.f_frsize:
            raise TemporaryError(
                f"{self._remote.name} takes {wanted} bytes more, and {room.f_bavail * room.f_frsize} are free in "
                f"{self._incoming.folder}; free some, or point SYNFIRE_HOME at another disk, and try again: it goes on from here",
                60.0,
            )

    def _write(self, piece: bytes) -> None:
        announced = self._remote.size
        if announced is not None and self._incoming.size + len(piece) > announced:
            self._incoming.restart()
            raise WrongDigest(
                f"{self._remote.name} from {self._site.called} is longer than the {announced} bytes that were announced; nothing of "
                "it is kept: try again, and if it stays so, ask where it comes from"
            )
        self._incoming.write(piece)
        self._watcher.advance(len(piece))


def _retry_after(response: httpx.Response) -> float:
    said = response.headers.get("retry-after", "")
    return min(float(said), 3600.0) if said.isdigit() else 30.0


def client() -> httpx.Client:
    """A client for sites: follows redirects, shows keys to the first host only, and takes proxies from the environment."""
    return httpx.Client(timeout=httpx.Timeout(TIMEOUT_S, connect=CONNECT_S), follow_redirects=True)
