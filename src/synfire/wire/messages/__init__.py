"""What gateways, workers and controllers say to each other: typed, frozen, versioned.

A connection opens with `Hello` from both sides. Then a gateway sends frames to the stages that take a model's inputs,
workers pass frames on, and the stages that give outputs send theirs back to the gateway that the request came from.
Every frame says where it stands: its request, the stages at both ends, its number on that link, the time steps it
carries, and the epoch of the route. A change that an older peer would misread raises `PROTOCOL`.

One file per topic: `message` is their root and the greeting; `requests` are the data; `stages`, `health` and `faults` concern
what a worker hosts and how it is; `gateways` and `orders` are the controller's part; `failures` has errors on their way.
All are imported from here.
"""

from synfire.wire.messages.every import AnyMessage
from synfire.wire.messages.failures import error_of, error_words, failure_of
from synfire.wire.messages.faults import Impair, Impaired, Inject, Injected, Lap, StageLost, StageMended
from synfire.wire.messages.gateways import Ask, Attend, Cut, Direct, Given, Member, Members, Standing, Whole, Withdraw
from synfire.wire.messages.health import (
    Beat,
    Describe,
    Description,
    Drained,
    Draining,
    LinkCount,
    Ping,
    Pong,
    Pulse,
    StageCount,
)
from synfire.wire.messages.message import PROTOCOL, Hello, Message, check_hello
from synfire.wire.messages.orders import (
    Crew,
    Done,
    Exited,
    Load,
    Move,
    Recorded,
    Reload,
    Signal,
    Spawn,
    Spawned,
    Unload,
)
from synfire.wire.messages.requests import Advance, Batch, Cancel, Checkpoint, Failure, Forget, Frame, Restore, Restored
from synfire.wire.messages.stages import (
    Arrival,
    Departure,
    Host,
    Hosted,
    Prepare,
    Prepared,
    Prove,
    Proved,
    Relink,
    Relinked,
    Unhost,
)

__all__ = [
    "PROTOCOL",
    "Advance",
    "AnyMessage",
    "Arrival",
    "Ask",
    "Attend",
    "Batch",
    "Beat",
    "Cancel",
    "Checkpoint",
    "Crew",
    "Cut",
    "Departure",
    "Describe",
    "Description",
    "Direct",
    "Done",
    "Drained",
    "Draining",
    "Exited",
    "Failure",
    "Forget",
    "Frame",
    "Given",
    "Hello",
    "Host",
    "Hosted",
    "Impair",
    "Impaired",
    "Inject",
    "Injected",
    "Lap",
    "LinkCount",
    "Load",
    "Member",
    "Members",
    "Message",
    "Move",
    "Ping",
    "Pong",
    "Prepare",
    "Prepared",
    "Prove",
    "Proved",
    "Pulse",
    "Recorded",
    "Relink",
    "Relinked",
    "Reload",
    "Restore",
    "Restored",
    "Signal",
    "Spawn",
    "Spawned",
    "StageCount",
    "StageLost",
    "StageMended",
    "Standing",
    "Unhost",
    "Unload",
    "Whole",
    "Withdraw",
    "check_hello",
    "error_of",
    "error_words",
    "failure_of",
]
