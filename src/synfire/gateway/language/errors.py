"""Errors in OpenAI's shape: a message, a type, the parameter at fault, and a code."""

from __future__ import annotations

import msgspec

from synfire.base.errors import ContextExceeded, Overloaded, TemporaryError, Unauthenticated, UnknownName, UserError
from synfire.gateway.http import HttpResponse
from synfire.gateway.language.bodies import field_of
from synfire.gateway.status import error_text, extra_headers, http_status


class ErrorDetail(msgspec.Struct, frozen=True):
    message: str
    type: str
    param: str | None = None
    code: str | None = None


class OpenAIError(msgspec.Struct, frozen=True):
    """The body of every 4xx and 5xx answer, and the event that ends a stream which fails on its way."""

    error: ErrorDetail


_KINDS: tuple[tuple[type[BaseException], str, str | None], ...] = (
    (Unauthenticated, "invalid_request_error", "invalid_api_key"),
    (UnknownName, "invalid_request_error", "model_not_found"),
    (ContextExceeded, "invalid_request_error", "context_length_exceeded"),
    (UserError, "invalid_request_error", None),
    (Overloaded, "rate_limit_error", "rate_limit_exceeded"),
    (TemporaryError, "server_error", "unavailable"),
    (BaseException, "server_error", None),
)


def in_openai_shape(error: BaseException, prompt: str = "messages") -> OpenAIError:
    """The error as a caller of OpenAI's API expects it, who has put what a model reads into the field `prompt`."""
    kind, code = next((kind, code) for each, kind, code in _KINDS if isinstance(error, each))
    text = error_text(error)
    param = field_of(text) if isinstance(error, UserError) else None
    if isinstance(error, UnknownName):
        param = "model"
    if isinstance(error, ContextExceeded):
        param = prompt
    return OpenAIError(ErrorDetail(text, kind, param, code))


def openai_error(error: BaseException, prompt: str = "messages") -> HttpResponse:
    """The answer that tells the caller of `error`; see `in_openai_shape`."""
    body = msgspec.json.encode(in_openai_shape(error, prompt))
    return HttpResponse(body, http_status(error), headers=extra_headers(error))
