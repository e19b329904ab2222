"""Which devices containers have: the kubelet tells whoever asks, by its pod resources API (v1), and nobody when one is given back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc

from synfire.base.log import LOGGER
from synfire.kubernetes.device_plugin.proto import LISTER, path, pods

ANSWER_S = 2.0

_OF_ITS_OWN = [("grpc.use_local_subchannel_pool", 1)]
"""Channels to one address share a connection else, also one to a kubelet that was there before."""


class Taken:
    """Asks at the kubelet's `socket` for the devices of one `resource`, along one channel as long as that answers and the socket is the same.
    Use it until `close`."""

    def __init__(self, socket: Path, resource: str) -> None:
        self._socket = socket
        self._resource = resource
        self._silent = False
        self._channel: Any = None
        self._reached: tuple[int, int] | None = None

    async def look(self) -> frozenset[str] | None:
        """Their names; None where the kubelet does not tell, which the log says once."""
        if not await self._reach():
            self._miss("there is none")
            return None
        takes, gives = pods("ListPodResourcesRequest"), pods("ListPodResourcesResponse")
        call = self._channel.unary_unary(path(LISTER, "List"), takes.SerializeToString, gives.FromString)
        try:
            found = await call(takes(), timeout=ANSWER_S)
        except grpc.aio.AioRpcError as error:
            await self.close()
            self._miss(str(error.details()))
            return None
        self._silent = False
        given = (each for pod in found.pod_resources for container in pod.containers for each in container.devices)
        return frozenset(id for each in given if each.resource_name == self._resource for id in each.device_ids)

    async def close(self) -> None:
        """Leave the kubelet; asking again reaches it anew. Closing twice is no error."""
        channel, self._channel, self._reached = self._channel, None, None
        if channel is not None:
            await channel.close()

    async def _reach(self) -> bool:
        """Whether there is a channel to the socket that is there now: a kubelet that begins anew makes another one."""
        try:
            there = self._socket.stat()
        except FileNotFoundError:
            await self.close()
            return False
        if self._reached != (there.st_dev, there.st_ino):
            await self.close()
            self._channel = grpc.aio.insecure_channel(f"unix:{self._socket}", _OF_ITS_OWN)
            self._reached = there.st_dev, there.st_ino
        return True

    def _miss(self, reason: str) -> None:
        if not self._silent:
            LOGGER.warning(
                "the kubelet does not tell at %s which devices containers have (%s); no label tells of free cores",
                self._socket,
                reason,
            )
        self._silent = True
