"""The processes of a served deployment, beside its workers: the supervisor, which starts and ends the others, the controller,
and gateways.

    python -m synfire.deploy.roles.controller '{…}'      started by the supervisor, as all of them are
"""
