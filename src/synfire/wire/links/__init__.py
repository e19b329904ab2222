"""Links: what packets travel over. Each passes the suite in `synfire.testing.links`.

`synfire.wire.links.http` is left out here, so that only who calls a foreign service pays for an HTTP client; and so is
`synfire.wire.links.watched`, which needs asyncio.
"""

from synfire.wire.links.address import accept, connect, listen, unlink
from synfire.wire.links.link import Limits, Link
from synfire.wire.links.memory import MemoryLink
from synfire.wire.links.socket import SocketLink

__all__ = ["Limits", "Link", "MemoryLink", "SocketLink", "accept", "connect", "listen", "unlink"]
