"""A device plugin's life: test the chips, tell the kubelet, and begin again when the kubelet does.

A kubelet that starts makes its socket anew and removes those of all plugins. So the plugin looks, every second, whether the
kubelet's socket is the one that it registered at, and whether its own is still there; otherwise it serves and registers again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from synfire.base.errors import PermanentError, UserError
from synfire.base.log import LOGGER
from synfire.kubernetes.device_plugin.chips import Chips
from synfire.kubernetes.device_plugin.proto import REGISTRATION, message, path
from synfire.kubernetes.device_plugin.report import Report, Sharing, announced, free_cores, labels, require_resource
from synfire.kubernetes.device_plugin.service import Service, options
from synfire.kubernetes.device_plugin.taken import Taken
from synfire.store.files import write_atomically

VERSION = "v1beta1"
KUBELET = "kubelet.sock"
REGISTER_S = 5.0
"""Within which a kubelet has to answer a registration."""

LONGEST_PATH = 107
"""Bytes of a Unix socket's path, by the kernel."""

_AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)

Identity = tuple[int, int, int]


@dataclass(frozen=True)
class Settings:
    """`sockets` is the kubelet's folder. `features` is where labels go, as Node Feature Discovery reads them; None: nowhere.

    The kubelet is looked after every `look_every_s`, and what chips report of themselves and containers have; they are tested every
    `test_every_s`.
    """

    resource: str = "zj.com/darwin3"
    sockets: Path = Path("/var/lib/kubelet/device-plugins")
    sharing: Sharing = field(default_factory=Sharing)
    features: Path | None = None
    look_every_s: float = 1.0
    test_every_s: float = 60.0

    @property
    def endpoint(self) -> Path:
        """The plugin's own socket."""
        return self.sockets / f"{self.resource.replace('/', '-')}.sock"

    @property
    def pods(self) -> Path:
        """Where the kubelet tells which devices containers have, beside its folder of plugins."""
        return self.sockets.parent / "pod-resources" / KUBELET


class Plugin:
    """The chips of a node, as one resource of its kubelet. `on_registered` is told the reports at each registration.

    Raises `UserError` for a resource that is none, a share that no chip has, or a folder that is not there.
    """

    def __init__(
        self, chips: Chips, settings: Settings, on_registered: Callable[[tuple[Report, ...]], None] = lambda _: None
    ) -> None:
        require_resource(settings.resource)
        if not settings.sockets.is_dir():
            raise UserError(
                f"{settings.sockets} is no folder: this runs on a node, with the kubelet's folder mounted; name it with --socket-dir"
            )
        if len(str(settings.endpoint).encode()) > LONGEST_PATH:
            raise UserError(
                f"{settings.endpoint} is longer than {LONGEST_PATH} bytes; name a shorter folder or resource"
            )
        self._chips = chips
        self._settings = settings
        self._on_registered = on_registered
        self._service = Service(chips)
        self._reports: tuple[Report, ...] = ()
        self._kubelet = Taken(settings.pods, settings.resource)
        self._taken: frozenset[str] | None = None
        self._labelled = ""
        self._server: Any = None
        self._own: Identity | None = None
        self._registered: Identity | None = None
        self._waits = False

    async def run(self) -> None:
        """Serve until cancelled. Raises `PermanentError` when the kubelet refuses the registration, `UserError` when a file that
        it keeps may not be written."""
        loop = asyncio.get_running_loop()
        try:
            await self._test()
            tested_s = loop.time()
            while True:
                if (
                    await asyncio.to_thread(self._chips.reported)
                    or loop.time() - tested_s >= self._settings.test_every_s
                ):
                    await self._test()
                    tested_s = loop.time()
                if not self._stands():
                    await self._begin()
                if self._settings.features is not None:
                    self._taken = await self._kubelet.look()
                    self._label()
                await asyncio.sleep(self._settings.look_every_s)
        finally:
            await self._kubelet.close()
            await self._end()

    def _stands(self) -> bool:
        """Whether the kubelet is the one that knows this plugin, and can reach it."""
        kubelet = _identity(self._settings.sockets / KUBELET)
        return kubelet is not None and kubelet == self._registered and _identity(self._settings.endpoint) == self._own

    async def _test(self) -> None:
        reports = await asyncio.to_thread(self._chips.test)
        for before, now in zip(self._reports or reports, reports, strict=True):
            if (before.usable, before.alive) != (now.usable, now.alive):
                LOGGER.warning("%s: %d of %d cores pass their test", now.chip, now.usable, now.whole)
        self._reports = reports
        self._label()
        self._service.announce(announced(reports, self._settings.sharing), any(each.emulated for each in reports))

    def _label(self) -> None:
        """Keep the node's labels, where they are kept."""
        settings, reports, taken = self._settings, self._reports, self._taken
        if settings.features is None:
            return
        free = free_cores(reports, announced(reports, settings.sharing), taken) if taken is not None else None
        lines = feature_lines(labels(reports, settings.resource, free))
        if lines != self._labelled:
            write_atomically(settings.features, lines.encode())
            self._labelled = lines

    async def _begin(self) -> None:
        """Serve, and register where there is a kubelet."""
        await self._end()
        kubelet = _identity(self._settings.sockets / KUBELET)
        if kubelet is None:
            self._wait("there is none")
            return
        await self._serve()
        if await self._register():
            self._registered, self._waits = kubelet, False
            self._on_registered(self._reports)

    async def _serve(self) -> None:
        self._settings.endpoint.unlink(missing_ok=True)
        self._service.open()
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers((self._service.handlers(),))
        try:
            self._server.add_insecure_port(f"unix:{self._settings.endpoint}")
        except RuntimeError as error:
            raise UserError(f"no socket can be made at {self._settings.endpoint}: {error}; run as its owner") from error
        await self._server.start()
        self._own = _identity(self._settings.endpoint)

    async def _register(self) -> bool:
        """Whether the kubelet has taken it."""
        request = message("RegisterRequest")(
            version=VERSION,
            endpoint=self._settings.endpoint.name,
            resource_name=self._settings.resource,
            options=options(),
        )
        async with grpc.aio.insecure_channel(f"unix:{self._settings.sockets / KUBELET}") as channel:
            call = channel.unary_unary(
                path(REGISTRATION, "Register"),
                message("RegisterRequest").SerializeToString,
                message("Empty").FromString,
            )
            try:
                await call(request, timeout=REGISTER_S)
            except grpc.aio.AioRpcError as error:
                if error.code() not in _AWAY:
                    raise PermanentError(
                        f"the kubelet refuses {self._settings.resource}: {error.details()}; another name, or another kubelet"
                    ) from error
                self._wait(str(error.details()))
                return False
        return True

    def _wait(self, reason: str) -> None:
        if not self._waits:
            LOGGER.warning("waiting for a kubelet at %s: %s", self._settings.sockets / KUBELET, reason)
        self._waits = True

    async def _end(self) -> None:
        self._registered = self._own = None
        if self._server is not None:
            server, self._server = self._server, None
            self._service.close()
            await server.stop(grace=1.0)
        self._settings.endpoint.unlink(missing_ok=True)


def feature_lines(found: Mapping[str, str]) -> str:
    """Labels as Node Feature Discovery reads them from a file: a line `name=value` each."""
    return "".join(f"{name}={value}\n" for name, value in found.items())


def _identity(socket: Path) -> Identity | None:
    try:
        found = socket.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino, found.st_ctime_ns
