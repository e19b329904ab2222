"""Answers that have to be JSON: what callers ask for, as a JSON Schema that an engine holds its answer to."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from synfire.base.errors import UserError


class NamedSchema(msgspec.Struct, frozen=True, rename={"body": "schema"}):
    """A schema and its name. `strict` or not: an answer is always held to it."""

    name: str = ""
    body: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(msgspec.Struct, frozen=True):
    """`response_format`: text, any JSON object, or JSON as a schema says."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: NamedSchema | None = None

    @property
    def wanted(self) -> dict[str, Any] | None:
        """The schema of the answer, None for text. Raises `UserError` where it is missing."""
        if self.type == "text":
            return None
        if self.type == "json_object":
            return {"type": "object"}
        if self.json_schema is None or self.json_schema.body is None:
            raise UserError("response_format of type json_schema has no schema; put it under json_schema.schema")
        return self.json_schema.body
