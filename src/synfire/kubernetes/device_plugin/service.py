"""The plugin's side of the kubelet's API: what it answers about the devices, over gRPC."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc

from synfire.base.errors import UserError
from synfire.kubernetes.device_plugin.chips import Chips
from synfire.kubernetes.device_plugin.near import preferred
from synfire.kubernetes.device_plugin.proto import PLUGIN, message, methods
from synfire.kubernetes.device_plugin.report import Announced

Message = Any

PREFIX = "SYNFIRE_DARWIN3"
"""What the variables begin with that tell a container what it was given."""

_HEALTH = {True: "Healthy", False: "Unhealthy"}


class Service:
    """Answers the kubelet. `announce` tells all that watch."""

    def __init__(self, chips: Chips) -> None:
        self._chips = chips
        self._devices: dict[str, Announced] = {}
        self._emulated = True
        self._news = asyncio.Event()
        self._closed = False

    def announce(self, devices: Sequence[Announced], emulated: bool) -> None:
        """These are the devices from now on."""
        before, self._devices = self._devices, {each.id: each for each in devices}
        if self._devices != before:
            self._emulated = emulated
            self._tell()

    def open(self) -> None:
        """Answer another kubelet, after `close`."""
        self._closed = False

    def close(self) -> None:
        """End what watches, so that the server can stop."""
        self._closed = True
        self._tell()

    def handlers(self) -> Any:
        """The service as a gRPC handler."""
        return grpc.method_handlers_generic_handler(
            PLUGIN, {each.name: self._handler(each) for each in methods(PLUGIN)}
        )

    # the methods, by their protocol names in lower case

    async def get_device_plugin_options(self, request: Message, context: Any) -> Message:
        return options()

    async def list_and_watch(self, request: Message, context: Any) -> AsyncIterator[Message]:
        while not self._closed:
            news = self._news
            devices = [message("Device")(ID=each.id, health=_HEALTH[each.healthy]) for each in self._devices.values()]
            yield message("ListAndWatchResponse")(devices=devices)
            await news.wait()

    async def get_preferred_allocation(self, request: Message, context: Any) -> Message:
        places = {each.id: each.place for each in self._devices.values()}
        chosen = [
            preferred(each.available_deviceIDs, each.must_include_deviceIDs, each.allocation_size, places)
            for each in request.container_requests
        ]
        container = message("ContainerPreferredAllocationResponse")
        return message("PreferredAllocationResponse")(
            container_responses=[container(deviceIDs=each) for each in chosen]
        )

    async def allocate(self, request: Message, context: Any) -> Message:
        given = [self._given([self._healthy(id) for id in each.devices_ids]) for each in request.container_requests]
        return message("AllocateResponse")(container_responses=given)

    async def pre_start_container(self, request: Message, context: Any) -> Message:
        return message("PreStartContainerResponse")()

    # what they share

    def _given(self, devices: Sequence[Announced]) -> Message:
        """Which chips a container was given, and how many cores and events a second in all, as variables; what is in the chips' folders as
        mounts."""
        known = all(each.keps for each in devices)
        chips = list(dict.fromkeys(each.chip for each in devices))
        given = [self._chips.given(each) for each in chips]
        mount, spec = message("Mount"), message("DeviceSpec")
        return message("ContainerAllocateResponse")(
            envs={
                f"{PREFIX}_CHIPS": ",".join(chips),
                f"{PREFIX}_CORES": str(sum(each.cores for each in devices)),
                **({f"{PREFIX}_KEPS": str(sum(each.keps for each in devices))} if known else {}),
                f"{PREFIX}_EMULATED": str(self._emulated).lower(),
            },
            mounts=[
                mount(container_path=inside, host_path=str(outside), read_only=True)
                for each in given
                for inside, outside in each.mounts.items()
            ],
            devices=[
                spec(container_path=inside, host_path=str(outside), permissions="rw")
                for each in given
                for inside, outside in each.nodes.items()
            ],
        )

    def _healthy(self, id: str) -> Announced:
        if id not in self._devices:
            raise UserError(f"there is no device {id!r} here; there are {', '.join(self._devices)}")
        if not self._devices[id].healthy:
            raise UserError(f"device {id!r} did not pass its test, and nobody should be given it; take a healthy one")
        return self._devices[id]

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _handler(self, method: Any) -> Any:
        answer = getattr(self, _snake(method.name))
        takes, gives = message(method.input_type.name).FromString, message(method.output_type.name).SerializeToString
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(answer, takes, gives)
        return grpc.unary_unary_rpc_method_handler(_refusing(answer), takes, gives)


def options() -> Message:
    """What of the API this plugin has."""
    return message("DevicePluginOptions")(get_preferred_allocation_available=True)


def _refusing(answer: Any) -> Any:
    """The method, with a `UserError` as the status that says so."""

    async def answered(request: Message, context: Any) -> Message:
        try:
            return await answer(request, context)
        except UserError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))

    return answered


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
