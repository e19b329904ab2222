"""All that can come along a connection, as one type."""

from __future__ import annotations

from synfire.wire.messages.faults import FaultMessage
from synfire.wire.messages.gateways import GatewayMessage
from synfire.wire.messages.health import HealthMessage
from synfire.wire.messages.joining import JoinMessage
from synfire.wire.messages.message import Hello
from synfire.wire.messages.orders import OrderMessage
from synfire.wire.messages.requests import RequestMessage
from synfire.wire.messages.stages import StageMessage

AnyMessage = (
    Hello | RequestMessage | StageMessage | HealthMessage | FaultMessage | GatewayMessage | OrderMessage | JoinMessage
)
"""Each file's own messages stand at its end."""
