"""Functions that a model may call: what callers offer, whether the model was trained for that, and the calls in what it says.

A model that *must* call is held to a schema, of one function's arguments or of a list of calls, which every model can write. Where it
may choose, it calls as it was trained to (`synfire.gateway.language.listening`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from synfire.base.errors import UserError
from synfire.gateway.language.listening import MOST_CALLS, STYLES, Calling

MOST_TOOLS = 128


class Function(msgspec.Struct, frozen=True, omit_defaults=True):
    """A function that is offered; `parameters` is a JSON Schema of its arguments."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(msgspec.Struct, frozen=True):
    function: Function
    type: Literal["function"] = "function"


class NamedFunction(msgspec.Struct, frozen=True):
    name: str


class NamedTool(msgspec.Struct, frozen=True):
    """`tool_choice`: this function, and no other."""

    function: NamedFunction
    type: Literal["function"] = "function"


ToolChoice = Literal["none", "auto", "required"] | NamedTool


@dataclass(frozen=True)
class Offer:
    """The functions that a request offers, and how the model is to choose among them."""

    tools: Sequence[Tool] = ()
    choice: ToolChoice = "auto"
    parallel: bool = True

    @property
    def open(self) -> bool:
        """Whether anything may be called."""
        return bool(self.tools) and self.choice != "none"

    def check(self, schema: dict[str, Any] | None) -> None:
        """Raise `UserError` where the whole answer is held to JSON, so that nothing can be called in it."""
        if self.open and schema is not None:
            raise UserError(
                "the whole answer is held to JSON, so no tools can be called in it; leave one of the two out"
            )

    def variables(self) -> dict[str, Any]:
        """What the template is given."""
        return {"tools": [msgspec.to_builtins(each) for each in self.tools]} if self.open else {}

    def calling(self, model: str, template: str) -> Calling | None:
        """How calls are found in the answer; None where nothing may be called. Raises `UserError` for a model that was not trained
        to call functions, and for a function that is not offered."""
        if not self.open:
            return None
        if "tools" not in template.lower():
            raise UserError(
                f"the chat_template of model {model!r} takes no tools, so it was not trained to call functions; leave tools out, or "
                "ask for JSON with response_format"
            )
        most = MOST_CALLS if self.parallel else 1
        if isinstance(self.choice, NamedTool):
            return Calling(only=self._offered(self.choice.function.name).name, most=1)
        if self.choice == "required":
            return Calling(most=most)
        style = next((each for each in STYLES if each.mark in template), None)
        if style is None:
            raise UserError(
                f"model {model!r} writes calls of functions in a way that is not known here; set tool_choice to required or to a "
                "function's name, which works with every model that takes tools"
            )
        return Calling(style, most=most)

    def schema(self) -> dict[str, Any] | None:
        """What the answer is held to, where a function must be called."""
        if isinstance(self.choice, NamedTool):
            return _arguments(self._offered(self.choice.function.name))
        if not self.open or self.choice != "required":
            return None
        calls = [
            {
                "type": "object",
                "properties": {"name": {"const": each.function.name}, "arguments": _arguments(each.function)},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
            for each in self.tools
        ]
        return {"type": "array", "items": {"anyOf": calls}, "minItems": 1, **({} if self.parallel else {"maxItems": 1})}

    def _offered(self, name: str) -> Function:
        found = next((each.function for each in self.tools if each.function.name == name), None)
        if found is None:
            raise UserError(f"tool_choice names {name!r}, which is not among the tools; offer it, or name another")
        return found


def _arguments(function: Function) -> dict[str, Any]:
    return function.parameters or {"type": "object"}
