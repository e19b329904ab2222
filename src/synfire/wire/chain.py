"""Chains that somebody asked for by HTTP: told to a gateway, checked and kept by the controller, served by every gateway."""

from __future__ import annotations

import msgspec


class ChainState(msgspec.Struct, frozen=True):
    """A chain as it was asked for, and whether it can be served now.

    `content` is a chain's file, as JSON; without it the chain is wanted no longer. `joined` is the document of the chain that fits together
    (`synfire.chains.Joined`). As long as it is empty nobody can call the chain: it waits for models that are `missing`, by the names that
    steps call them, or it does not fit the models that there are, as `failure` says.
    """

    name: str
    content: bytes = b""
    joined: bytes = b""
    missing: tuple[str, ...] = ()
    failure: str = ""


class ChainBrief(msgspec.Struct, frozen=True):
    """What `synfire ps` shows of a chain that was asked for by HTTP; the `reason` says why it cannot be called."""

    name: str
    steps: tuple[str, ...]
    models: tuple[str, ...]
    reason: str = ""
