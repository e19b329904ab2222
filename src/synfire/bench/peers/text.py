"""Raw bytes as text in JSON: for servers that take no raw bodies."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import msgspec

from synfire.bench.wrk import whole_request


def json_request(path: str, value: object) -> bytes:
    """The whole HTTP request with a JSON body."""
    return whole_request(path, {"Content-Type": "application/json"}, msgspec.json.encode(value))


def packed(content: bytes) -> str:
    return base64.b64encode(content).decode()


def unpacked(texts: Sequence[str]) -> list[bytes]:
    return [base64.b64decode(each) for each in texts]
