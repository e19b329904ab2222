"""Talks to a gateway as any client would: Open Inference Protocol v2 with the binary extension."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

from synfire.base.errors import (
    Bug,
    DeadlineExceeded,
    PermanentError,
    TemporaryError,
    Unauthenticated,
    UnknownName,
    UserError,
)
from synfire.base.keys import authorization
from synfire.ops import Array, Clock, Kind, Signal
from synfire.wire import oip
from synfire.wire.batch_axis import BATCHES

_PLAIN = {oip.datatype_of(kind.dtype): kind for kind in Kind if kind.plain}
_KINDS = _PLAIN | {oip.datatype_of(kind.dtype): kind for kind in Kind if not kind.plain}


@dataclass(frozen=True)
class Reply:
    """One answer: its outputs, batch first, and the request's id."""

    outputs: Mapping[str, Array]
    id: str


class Client:
    """One connection to a gateway, which is shown the key in `SYNFIRE_API_KEY`. Use it as a context manager."""

    def __init__(self, url: str, timeout_s: float = 60.0) -> None:
        self._http = httpx.Client(base_url=url, timeout=timeout_s, headers=authorization(), trust_env=False)
        self.url = url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def inputs(self, model: str) -> dict[str, Signal]:
        """The signals that a served model takes, as its metadata tells them. Raises as `infer` does."""
        described = self._send("GET", f"/v2/models/{model}").json()
        batches = bool(described.get("parameters", {}).get(BATCHES, True))
        return {each["name"]: _signal(each, batches) for each in described["inputs"]}

    def infer(self, model: str, inputs: Mapping[str, Array]) -> Reply:
        """Send tensors, batch first, and wait for the answer.

        Raises the error that the gateway's status stands for: `UserError`, `TemporaryError`, `DeadlineExceeded`, …
        """
        body, length = oip.build_infer_request(inputs)
        headers = {} if length is None else {oip.HEADER_LENGTH: str(length)}
        response = self._send("POST", f"/v2/models/{model}/infer", content=body, headers=headers)
        answered = response.headers.get(oip.HEADER_LENGTH)
        parsed = oip.parse_infer_response(response.content, int(answered) if answered else None)
        return Reply(parsed.outputs, parsed.id)

    def get(self, path: str) -> bytes:
        """The body of what is at a path. Raises as `infer` does."""
        return self._send("GET", path).content

    def _send(self, method: str, path: str, **content: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **content)
        except httpx.UnsupportedProtocol as error:
            raise UserError(f"{self.url!r} is no URL of a gateway; write it like http://127.0.0.1:8000") from error
        except httpx.TimeoutException as error:
            raise DeadlineExceeded(f"{self.url} did not answer in time; is it overloaded?") from error
        except httpx.TransportError as error:
            raise TemporaryError(f"cannot reach {self.url}: {error}; is it running? (synfire ps)") from error
        if response.is_error:
            raise _error(response)
        return response


def _signal(tensor: Mapping[str, Any], batches: bool) -> Signal:
    """The signal of a tensor in a model's metadata: a batch and then a step axis that differ mean a timed one."""
    shape = tensor["shape"]
    if tensor["datatype"] not in _KINDS:
        raise PermanentError(f"the model takes {tensor['datatype']}, which no synfire model does; use another client")
    if not batches:
        return Signal(tuple(shape), _PLAIN.get(tensor["datatype"], Kind.BYTES), Clock.REQUEST)
    if shape[:2] == [-1, -1]:
        return Signal(tuple(shape[2:]), _KINDS[tensor["datatype"]], Clock.STEP)
    return Signal(tuple(shape[1:]), _KINDS[tensor["datatype"]], Clock.REQUEST)


def _error(response: httpx.Response) -> Exception:
    try:
        message = str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        message = response.text or response.reason_phrase
    code = response.status_code
    if code == 401:
        return Unauthenticated(message)
    if code == 404:
        return UnknownName(message)
    if code in (429, 503):
        return TemporaryError(message, float(response.headers.get("retry-after", 1)))
    if code in (408, 504):
        return DeadlineExceeded(message)
    if code >= 500:
        return PermanentError(message)
    return UserError(message) if code >= 400 else Bug(message)
