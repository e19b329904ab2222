"""Chains: graphs whose operators are served models and functions between them. Read from a file, checked, and drawn here; the gateway
runs them (`synfire.gateway.chains`)."""

from synfire.chains.chain import Chain, Step
from synfire.chains.joined import Joined, read_joined
from synfire.chains.joints import join
from synfire.chains.reading import is_chain, read_chain

__all__ = ["Chain", "Joined", "Step", "is_chain", "join", "read_chain", "read_joined"]
