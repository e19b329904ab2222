"""Other servers that host the framework's model, each set up as its own documentation advises for speed.

One file a server: how it is started, what a request to it and its answer look like, and the code that it hosts. Those files
import their server inside functions, or when they are run as what is hosted, so all of them can be listed without it.
"""

from synfire.bench.peers.bentoml import BentoMl
from synfire.bench.peers.litserve import LitServe
from synfire.bench.peers.mlserver import MlServer
from synfire.bench.peers.mosec import Mosec
from synfire.bench.peers.ours import Ours
from synfire.bench.peers.ray import Ray
from synfire.bench.peers.server import Server

OURS = Ours()

PEERS: dict[str, Server] = {each.name: each for each in (LitServe(), Mosec(), BentoMl(), MlServer(), Ray())}

__all__ = ["OURS", "PEERS", "Server"]
