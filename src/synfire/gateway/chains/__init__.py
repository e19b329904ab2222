"""Chains at work: each step is an ordinary call of the data plane, so that whatever holds for calls holds for steps."""

from synfire.gateway.chains.asked import AskedChains, why_not_called
from synfire.gateway.chains.route import ChainRoute, serve_chain

__all__ = ["AskedChains", "ChainRoute", "serve_chain", "why_not_called"]
