"""`SYNFIRE_API_KEY`: what servers ask callers for, and what our own client shows."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable

from synfire.base.errors import Unauthenticated, UserError

VARIABLE = "SYNFIRE_API_KEY"
HEADER = "authorization"
SCHEME = "Bearer"


class Keys:
    """The keys that a server accepts, each as good as the other. Without any, everybody may call."""

    def __init__(self, accepted: Iterable[str] = ()) -> None:
        self._digests = tuple(_digest(_checked(key)) for key in accepted)

    @classmethod
    def from_environment(cls) -> Keys:
        """The keys in `SYNFIRE_API_KEY`, separated by commas. Raises `UserError` where one could not be sent."""
        return cls(_given())

    def __bool__(self) -> bool:
        return bool(self._digests)

    def check(self, shown: str | None) -> None:
        """Raise `Unauthenticated` unless `shown`, the value of the header or metadata `authorization`, has a key.

        Takes the same time for every wrong key: digests are compared, all of them, and each whole.
        """
        if not self._digests:
            return
        scheme, _, key = (shown or "").partition(" ")
        matches = [hmac.compare_digest(_digest(key.strip()), each) for each in self._digests]
        if scheme.lower() != SCHEME.lower() or not any(matches):
            raise Unauthenticated(
                f"{'this is not a key of' if shown else 'no key was sent to'} this deployment; send the header "
                f"'Authorization: {SCHEME} KEY' (gRPC: metadata 'authorization'); synfire's own client takes KEY from {VARIABLE}"
            )


def authorization() -> dict[str, str]:
    """The header that shows the environment's key, the first where there are several; nothing when there is none."""
    given = _given()
    return {HEADER: f"{SCHEME} {_checked(given[0])}"} if given else {}


def _given() -> list[str]:
    value = os.environ.get(VARIABLE, "")
    return value.split(",") if value else []


def _checked(key: str) -> str:
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise UserError(
            f"{VARIABLE} holds a key that is empty or has a space or a character beyond ASCII, which no header carries; "
            "separate keys by a comma alone"
        )
    return key


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogateescape")).digest()
