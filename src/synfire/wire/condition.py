"""How a served model is: told by the controller to the gateways and to `synfire ps`."""

from __future__ import annotations

from typing import Literal

import msgspec

from synfire.wire.recovery import Substituted

Status = Literal["served", "degraded", "waiting", "stopped", "asleep"]
"""`served`: as it was planned. `degraded`: an unlike engine runs some of it. `waiting`: its calls wait for a worker that is
being started, or joins. `stopped`: its calls are answered by an error, until there is room for it again. `asleep`: it is on no
worker, or some of its stages are on none, and the next call wakes it."""


class Condition(msgspec.Struct, frozen=True):
    """A model's status; the `reason` in words where it is not served as planned; and the stages that an unlike engine runs. Where it
    waits for workers that are `joining` nobody of the deployment can begin one, so it is not ready. Where it is asleep, but for some of its stages,
    those that sleep are `resting`; without any, all of them are."""

    status: Status = "served"
    reason: str = ""
    substituted: tuple[Substituted, ...] = ()
    joining: bool = False
    resting: tuple[str, ...] = ()

    @property
    def away(self) -> bool:
        """Whether the model is on none of the workers that its plan names."""
        return self.joining or (self.status == "asleep" and not self.resting)
