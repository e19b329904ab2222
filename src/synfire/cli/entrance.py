"""The door that `synfire serve --join` opens, and how it is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from synfire.base.errors import UserError
from synfire.deploy.join.place import parse_own_place, reachable_place
from synfire.deploy.join.secret import VARIABLE, given_token, new_token


@dataclass(frozen=True)
class Entrance:
    """Where workers of other machines join, `host:port`, and the token that they have to have: one that is `own` is the user's."""

    place: str
    token: str
    own: bool

    def told(self, address: str) -> dict[str, str]:
        """What is told of the door that listens at `address`: a token of the user's is not."""
        return {"address": reachable_place(address), "token": "" if self.own else self.token}


def entrance_of(join: str | None, token_file: Path | None, hosts: int = 0) -> Entrance | None:
    """What the user has asked for. Raises `UserError` for what cannot be."""
    if join is None:
        if token_file is not None:
            raise UserError("--join-token-file is for a door, and there is none; open one with --join PORT")
        return None
    if hosts:
        raise UserError("--hosts emulates other machines, and --join lets in workers of real ones; leave one out")
    place = parse_own_place(join, "--join")
    given = given_token(None, token_file)
    return Entrance(place, given or new_token(), bool(given))


def command_of(told: dict[str, str]) -> str:
    """The command that joins, to be copied."""
    token = f"--token {told['token']}" if told["token"] else f"--token-file FILE  # or {VARIABLE}, as here"
    return f"synfire worker --join {told['address']} {token}"
