"""A deployment's language models, asked by Ollama's API: what `run`, `stop` and `ps` do at one that runs."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import httpx
import msgspec

from synfire.base.errors import PermanentError, TemporaryError, UnknownName, UserError
from synfire.base.keys import authorization

QUICK_S = 2.0
LOAD_S = 320.0
"""How long an answer may take to begin: a model may have to be loaded, for which a gateway waits a little less."""

_NOT_FOUND, _BAD = 404, 400


class Loaded(msgspec.Struct, frozen=True):
    """A model that is loaded: what it takes, and when it goes, if nobody calls it."""

    name: str
    size: int
    expires_at: datetime.datetime

    @property
    def left_s(self) -> float:
        """In how many seconds it goes."""
        return max(0.0, (self.expires_at - datetime.datetime.now(datetime.UTC)).total_seconds())


class _Running(msgspec.Struct, frozen=True):
    models: list[Loaded]


class OllamaClient:
    """Use it as a context. Raises `TemporaryError` where nobody answers, `UnknownName` and `UserError` as the deployment says."""

    def __init__(self, url: str, timeout_s: float = LOAD_S) -> None:
        self.url = url.rstrip("/")
        timeout = httpx.Timeout(timeout_s, connect=QUICK_S)
        self._http = httpx.Client(base_url=self.url, timeout=timeout, headers=authorization(), trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def names(self) -> list[str]:
        """The models that can be called."""
        return [str(each["name"]) for each in self._answer("GET", "/api/tags")["models"]]

    def loaded(self) -> list[Loaded]:
        """The models that are loaded."""
        return msgspec.convert(self._answer("GET", "/api/ps"), _Running).models

    def show(self, model: str) -> dict[str, Any]:
        """A model in full."""
        return self._answer("POST", "/api/show", {"model": model})

    def load(self, model: str, keep_alive: str | float | None = None) -> None:
        """Have a model loaded; with `keep_alive` 0, unloaded."""
        body = {"model": model, "stream": False, **({} if keep_alive is None else {"keep_alive": keep_alive})}
        self._answer("POST", "/api/generate", body)

    def stream(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The lines of an answer as they come."""
        try:
            with self._http.stream("POST", path, json=body) as response:
                if response.is_error:
                    response.read()
                    raise _refusal(response)
                for line in response.iter_lines():
                    said: dict[str, Any] = msgspec.json.decode(line)
                    if "error" in said:
                        raise PermanentError(str(said["error"]))
                    yield said
        except httpx.TransportError as error:
            raise self._away(error) from error

    def _answer(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            response = self._http.request(method, path, json=body)
        except httpx.TransportError as error:
            raise self._away(error) from error
        if response.is_error:
            raise _refusal(response)
        try:
            return msgspec.json.decode(response.content, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UserError(f"{self.url} speaks neither synfire's API nor Ollama's ({error}); check the URL") from error

    def _away(self, error: httpx.TransportError) -> TemporaryError:
        return TemporaryError(f"nobody answers at {self.url}: {error or type(error).__name__}; see synfire ps")


def _refusal(response: httpx.Response) -> Exception:
    """What a deployment says, as the error that it was there."""
    try:
        said = str(msgspec.json.decode(response.content, type=dict[str, Any]).get("error", response.text))
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = f"status {response.status_code}: {response.text[:200]}"
    if response.status_code == _NOT_FOUND:
        return UnknownName(said)
    if _BAD <= response.status_code < 500:
        return UserError(said)
    return TemporaryError(said) if response.status_code in (503, 504) else PermanentError(said)
