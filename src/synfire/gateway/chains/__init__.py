"""Chains at work: each step is an ordinary call of the data plane, so that whatever holds for calls holds for steps."""

from synfire.gateway.chains.route import ChainRoute, serve_chain

__all__ = ["ChainRoute", "serve_chain"]
