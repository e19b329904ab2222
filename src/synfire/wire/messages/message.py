"""The root of all messages, and the greeting that opens a connection."""

from __future__ import annotations

import msgspec

from synfire.base.errors import UserError

PROTOCOL = 6
"""The version of messages and layout. Peers of another version are refused."""


class Message(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The root of all messages."""


class Hello(Message, frozen=True):
    """The first message of both sides. `deployment` keeps strangers apart, `who` is unique within it.

    A `gateway` sends requests of its own and waits for their answers; a worker only passes frames on.
    """

    protocol: int
    deployment: str
    who: str
    gateway: bool = False


def check_hello(message: object, deployment: str) -> Hello:
    """The peer's greeting. Raises `UserError` when it is none, or of another protocol version or deployment."""
    if not isinstance(message, Hello):
        raise UserError(f"the peer's first message is {type(message).__name__}, not Hello; is it a synfire process?")
    if message.protocol != PROTOCOL:
        raise UserError(
            f"{message.who} speaks wire protocol {message.protocol}, this process speaks {PROTOCOL}; install the same "
            "version of synfire on both sides"
        )
    if message.deployment != deployment:
        raise UserError(
            f"{message.who} belongs to deployment {message.deployment!r}, this process to {deployment!r}; check the address"
        )
    return message
