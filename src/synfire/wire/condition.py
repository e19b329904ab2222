"""How a served model is: told by the controller to the gateways and to `synfire ps`."""

from __future__ import annotations

from typing import Literal

import msgspec

from synfire.wire.recovery import Substituted

Status = Literal["served", "degraded", "waiting", "stopped", "asleep"]
"""`served`: as it was planned. `degraded`: an unlike engine runs some of it. `waiting`: its calls wait for a worker that is
being started, or joins. `stopped`: its calls are answered by an error, until there is room for it again. `asleep`: it is on no
worker, and the next call wakes it."""


class Condition(msgspec.Struct, frozen=True):
    """A model's status; the `reason` in words where it is not served as planned; and the stages that an unlike engine runs. Where it
    waits for workers that are `joining` nobody of the deployment can begin one, so it is not ready."""

    status: Status = "served"
    reason: str = ""
    substituted: tuple[Substituted, ...] = ()
    joining: bool = False
