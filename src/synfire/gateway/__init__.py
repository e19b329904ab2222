"""The public APIs: HTTP and gRPC, the data plane behind them, and the routes to the workers."""

import os

# Read once, when gRPC is first imported. Who forks beside a channel (`synfire soak`) starts other programs, which inherit nothing of it;
# without this, gRPC prints a line for each of them.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
