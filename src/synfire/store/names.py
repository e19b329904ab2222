"""What named models are called: `name:tag`, and `name` for `name:latest`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from synfire.base.errors import UserError

LATEST = "latest"
DEFAULT_VERSION = "1"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*){0,3}")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
LONGEST_NAME = 128


@dataclass(frozen=True, order=True)
class ModelName:
    """`shake`, `shake:q8`, `org/shake:latest`; as text always with the tag."""

    name: str
    tag: str = LATEST

    @classmethod
    def parse(cls, text: str) -> ModelName:
        """The name that `text` is. Raises `UserError` for what is none; a path is none unless it looks like one by chance."""
        name, colon, tag = text.rpartition(":")
        if not colon or "/" in tag:
            name, tag = text, LATEST
        if len(name) > LONGEST_NAME or not _NAME.fullmatch(name) or not _TAG.fullmatch(tag):
            raise UserError(
                f"{text!r} is no model name; write it as name or name:tag, of letters, digits, '.', '_' and '-' "
                f"(at most {LONGEST_NAME} characters, parts of a name divided by '/')"
            )
        return cls(name, tag)

    @classmethod
    def suits(cls, text: str) -> bool:
        """Whether `text` can be a name."""
        try:
            cls.parse(text)
        except UserError:
            return False
        return True

    @property
    def short(self) -> str:
        """As people write it: without the tag where that is `latest`."""
        return self.name if self.tag == LATEST else str(self)

    def __str__(self) -> str:
        return f"{self.name}:{self.tag}"


def versioned(name: str, version: str) -> str:
    """What a deployment calls one of several versions of a model: `name@version`."""
    return f"{name}@{version}"


def replica(model: str, number: int) -> str:
    """What a deployment calls one of several replicas of a model: `name#number`, from 1 on."""
    return f"{model}#{number}"


def of_replica(model: str) -> str:
    """The model that a deployment's model is a replica of, or that it is itself."""
    return model.partition("#")[0]


def parted(model: str, version: str) -> tuple[str, str]:
    """The name and the version that a deployment's model is served under: those in its name, or that name with its `version`."""
    name, _, own = of_replica(model).partition("@")
    return name, own or version
