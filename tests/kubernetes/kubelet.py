"""A kubelet as a device plugin sees it: it takes registrations, and asks."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc

from synfire.kubernetes.device_plugin.proto import LISTER, PLUGIN, REGISTRATION, message, methods, path, pods


class Kubelet:
    """Listens in a folder until `stop`; another one may begin there then."""

    def __init__(self, folder: Path, refusal: str = "") -> None:
        self.folder = folder
        self.refusal = refusal
        self.registered: asyncio.Queue[Any] = asyncio.Queue()

    async def start(self) -> Kubelet:
        """As the real one does, it first removes every socket that it finds."""
        for each in self.folder.iterdir():
            each.unlink()
        request, empty = message("RegisterRequest").FromString, message("Empty").SerializeToString
        register = grpc.unary_unary_rpc_method_handler(self._register, request, empty)
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(REGISTRATION, {"Register": register}),)
        )
        self._server.add_insecure_port(f"unix:{self.folder / 'kubelet.sock'}")
        await self._server.start()
        return self

    async def stop(self) -> None:
        await self._server.stop(grace=None)

    async def plugin(self) -> Plugin:
        """The next one that registers."""
        return Plugin(self.folder, await asyncio.wait_for(self.registered.get(), 60))

    async def _register(self, request: Any, context: Any) -> Any:
        if self.refusal:
            await context.abort(grpc.StatusCode.UNKNOWN, self.refusal)
        self.registered.put_nowait(request)
        return message("Empty")()


class Containers:
    """What the kubelet tells, at a socket in another folder, of the devices that a Pod's containers are `given`: names by resource."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.given: dict[str, list[str]] = {}
        self._socket = folder / "kubelet.sock"

    async def start(self) -> Containers:
        takes, gives = pods("ListPodResourcesRequest").FromString, pods("ListPodResourcesResponse").SerializeToString
        method = grpc.unary_unary_rpc_method_handler(self._list, takes, gives)
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(LISTER, {"List": method}),))
        self._server.add_insecure_port(f"unix:{self._socket}")
        await self._server.start()
        return self

    async def stop(self) -> None:
        await self._server.stop(grace=None)

    async def _list(self, request: Any, context: Any) -> Any:
        of, device = pods("ContainerResources"), pods("ContainerDevices")
        one = [of(name="one", devices=[device(resource_name=each, device_ids=ids)]) for each, ids in self.given.items()]
        pod = pods("PodResources")(name="pod", namespace="default", containers=one)
        return pods("ListPodResourcesResponse")(pod_resources=[pod])


class Plugin:
    """What the kubelet calls of a registered plugin."""

    def __init__(self, folder: Path, request: Any) -> None:
        self.request = request
        self._channel = grpc.aio.insecure_channel(f"unix:{folder / request.endpoint}")
        self._methods = {each.name: each for each in methods(PLUGIN)}

    async def __aenter__(self) -> Plugin:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def call(self, method: str, **fields: Any) -> Any:
        takes, gives = self._codec(method)
        call = self._channel.unary_unary(path(PLUGIN, method), takes, gives)
        return await call(message(self._methods[method].input_type.name)(**fields), timeout=60)

    async def allocate(self, *containers: list[str]) -> Any:
        requests = [message("ContainerAllocateRequest")(devices_ids=each) for each in containers]
        return (await self.call("Allocate", container_requests=requests)).container_responses

    async def prefer(self, available: list[str], included: list[str], size: int) -> list[str]:
        request = message("ContainerPreferredAllocationRequest")(
            available_deviceIDs=available, must_include_deviceIDs=included, allocation_size=size
        )
        found = await self.call("GetPreferredAllocation", container_requests=[request])
        return list(found.container_responses[0].deviceIDs)

    def watch(self) -> Watch:
        takes, gives = self._codec("ListAndWatch")
        return Watch(self._channel.unary_stream(path(PLUGIN, "ListAndWatch"), takes, gives)(message("Empty")()))

    def _codec(self, method: str) -> tuple[Any, Any]:
        found = self._methods[method]
        return message(found.input_type.name).SerializeToString, message(found.output_type.name).FromString


class Watch:
    """The lists of devices as they come."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def next(self) -> dict[str, str] | None:
        """Health by device; None when the plugin has ended the stream."""
        found = await asyncio.wait_for(self._call.read(), 60)
        return None if found is grpc.aio.EOF else {each.ID: each.health for each in found.devices}
