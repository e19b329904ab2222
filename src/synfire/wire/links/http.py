"""A link to a foreign service: any server of the Open Inference Protocol v2, named by the URL of one of its models.

Such a service keeps no state for us, so only stages without memory can stand there. A service that knows of time steps
(another deployment's worker) is sent `(batch, steps, *shape)`; for any other time is folded into the batch, `(steps · batch,
*shape)`, and the answer unfolded. Its metadata tells them apart.
"""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import msgspec
import numpy as np

from synfire.base.errors import PermanentError, SynfireError, TemporaryError, UserError
from synfire.ops import Array, Signal
from synfire.wire import oip
from synfire.wire.links.link import Limits
from synfire.wire.messages import Frame, failure_of
from synfire.wire.stream import Packet

_TIMEOUT_S = 60.0
_IN_FLIGHT = 8


class _Tensor(msgspec.Struct):
    name: str
    shape: list[int] = []


class _Metadata(msgspec.Struct):
    inputs: list[_Tensor]
    outputs: list[_Tensor]


class HttpService:
    """One model of a foreign server, e.g. `http://host:port/v2/models/NAME`.

    Its tensors are met by name, or by position where the service calls them otherwise. Thread-safe.
    """

    def __init__(
        self, url: str, inputs: Mapping[str, Signal], outputs: Mapping[str, Signal], limits: Limits | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self._inputs, self._outputs = inputs, outputs
        self._limits = limits or Limits()
        self._client = httpx.Client(timeout=_TIMEOUT_S, trust_env=False)
        self._met: tuple[dict[str, _Tensor], dict[str, _Tensor]] | None = None

    def infer(self, arrays: Mapping[str, Array], steps: int) -> dict[str, Array]:
        """The service's outputs for one block of `steps` time steps.

        Raises `TemporaryError` when the service cannot be reached or says so, `UserError` when it refuses the inputs,
        `PermanentError` when it answers something else than the stage's graph promises.
        """
        into, out = self._tensors()
        tensors = {into[name].name: self._fold(name, array, into[name]) for name, array in arrays.items()}
        body, header = oip.build_infer_request(tensors, [each.name for each in out.values()])
        headers = {oip.HEADER_LENGTH: str(header)} if header is not None else {}
        response = self._request("POST", "/infer", body, headers)
        length = response.headers.get(oip.HEADER_LENGTH)
        try:
            answer = oip.parse_infer_response(response.content, int(length) if length else None)
        except (UserError, ValueError) as error:
            raise PermanentError(f"{self.url} answered what is no inference: {error}; check the service") from error
        return {name: self._unfold(name, answer.outputs.get(theirs.name), steps) for name, theirs in out.items()}

    def close(self) -> None:
        self._client.close()

    def _tensors(self) -> tuple[dict[str, _Tensor], dict[str, _Tensor]]:
        """The service's inputs and outputs by our names."""
        if self._met is None:
            content = self._request("GET", "", b"", {}).content
            try:
                theirs = msgspec.json.decode(content, type=_Metadata)
            except msgspec.DecodeError as error:
                raise PermanentError(f"{self.url} gives no model metadata: {error}; check the URL") from error
            self._met = (
                self._match(theirs.inputs, self._inputs, "inputs"),
                self._match(theirs.outputs, self._outputs, "outputs"),
            )
        return self._met

    def _match(self, theirs: list[_Tensor], ours: Mapping[str, Signal], noun: str) -> dict[str, _Tensor]:
        by_name = {each.name: each for each in theirs}
        if set(ours) <= set(by_name):
            return {name: by_name[name] for name in ours}
        if len(theirs) != len(ours):
            raise UserError(
                f"{self.url} has the {noun} {list(by_name)}, the stage has {list(ours)}; name the same tensors"
            )
        return dict(zip(ours, theirs, strict=True))

    def _fold(self, name: str, array: Array, theirs: _Tensor) -> Array:
        signal = self._inputs[name]
        if not signal.timed:
            return array
        if len(theirs.shape) == len(signal.shape) + 2:
            return np.ascontiguousarray(array.swapaxes(0, 1))
        return array.reshape(-1, *array.shape[2:])

    def _unfold(self, name: str, array: Array | None, steps: int) -> Array:
        signal = self._outputs[name]
        if array is None or array.dtype != signal.kind.dtype or not array.shape:
            got = "nothing" if array is None else f"{array.dtype} of shape {list(array.shape)}"
            raise PermanentError(f"{self.url} should answer {name!r} as {signal}, but sent {got}; check the service")
        if not signal.timed:
            return array
        if array.ndim == len(signal.shape) + 2:
            array = np.ascontiguousarray(array.swapaxes(0, 1))
        elif array.ndim == len(signal.shape) + 1 and steps and array.shape[0] % steps == 0:
            array = array.reshape(steps, -1, *array.shape[1:])
        if array.shape[0] != steps or array.shape[2:] != signal.shape:
            raise PermanentError(
                f"{self.url} should answer {name!r} as {signal} for {steps} steps, but sent the shape "
                f"{list(array.shape)}; check the service"
            )
        return array

    def _request(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> httpx.Response:
        try:
            response = self._client.request(method, self.url + path, content=body, headers=dict(headers))
        except httpx.HTTPError as error:
            raise TemporaryError(f"{self.url} cannot be reached: {error}; try again when it is back") from error
        if response.is_success:
            return response
        text = f"{self.url} answered {response.status_code}: {response.text[:500]}"
        if response.status_code in (429, 502, 503, 504):
            raise TemporaryError(f"{text}; try again")
        raise UserError(f"{text}; mend the request") if response.is_client_error else PermanentError(text)


class HttpLink:
    """Each frame sent is posted to the service; its answer arrives as a frame back, in the order of sending.

    At most `in_flight` are posted at a time. A service that fails answers that frame with a `Failure`; the link itself never breaks.
    """

    def __init__(self, service: HttpService, in_flight: int = _IN_FLIGHT) -> None:
        self.peer = service.url
        self._service = service
        self._in_flight = in_flight
        self._threads = ThreadPoolExecutor(in_flight, thread_name_prefix="http-link")
        self._answers: deque[Future[Packet]] = deque()
        self._wake, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self._wake.setblocking(False)

    @property
    def pending(self) -> bool:
        return False

    @property
    def full(self) -> bool:
        return len(self._answers) >= self._in_flight

    def fileno(self) -> int:
        return self._woken.fileno()

    def send(self, packet: Packet, later: bool = False) -> int:
        frame = packet.message
        if not isinstance(frame, Frame):
            raise UserError(f"a foreign service takes frames, not {type(frame).__name__}; send it on another link")
        answer = self._threads.submit(self._post, frame, packet.arrays)
        self._answers.append(answer)
        answer.add_done_callback(self._ring)
        return sum(array.nbytes for array in packet.arrays.values())

    def flush(self) -> None:
        """Nothing waits here: the threads post at once."""

    def receive(self) -> list[Packet]:
        with contextlib.suppress(BlockingIOError):
            while self._woken.recv(4096):
                pass
        packets = []
        while self._answers and self._answers[0].done():
            packets.append(self._answers.popleft().result())
        return packets

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._service.close()
        self._wake.close()
        self._woken.close()

    def _post(self, frame: Frame, arrays: Mapping[str, Array]) -> Packet:
        try:
            outputs = self._service.infer(arrays, frame.steps)
        except SynfireError as error:
            return Packet(failure_of(frame.request, error))
        back = msgspec.structs.replace(frame, sender=frame.receiver, receiver=frame.sender, tensors=())
        return Packet(back, outputs)

    def _ring(self, answer: Future[Packet]) -> None:
        with contextlib.suppress(OSError):
            self._wake.send(b"!")
