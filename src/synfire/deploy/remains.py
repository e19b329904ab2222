"""What is left of a deployment whose processes were all killed. One that is begun with the same goes on where it was: under its name, with
the models that it was given later, and with the workers of other machines, which hold their stages until they hear of it.

A deployment that has ended as it was told to leaves nothing, nor does one that no worker of another machine could find again.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from synfire import __version__
from synfire.base.errors import SynfireError
from synfire.base.log import LOGGER
from synfire.control.adoption import EPOCHS
from synfire.deploy.folders import left_behind, take
from synfire.deploy.ledger import Ledger, Wanted, read_ledger
from synfire.deploy.settings import Settings
from synfire.plan import Plan
from synfire.wire.links.tls import Credential

BLOBS = "blobs"
"""What its processes share of a deployment's folder, by the folder's name."""

CONTROLLERS = 1000
"""How many controllers a deployment may have until it is begun again: what the last one has told may be written nowhere, and no epoch is
ever given twice."""


@dataclass(frozen=True)
class Remains:
    """Its folder, which holds nothing any more but blobs, and its ledger, in which it is noted that it is begun again."""

    folder: Path
    ledger: Ledger

    @property
    def controllers(self) -> int:
        """How many controllers it had, at the most."""
        return self.ledger.times * CONTROLLERS

    @property
    def joined(self) -> frozenset[str]:
        """The workers of other machines that were counted on."""
        state = self.ledger.state
        return (
            frozenset(each.name for each in state.workers.values() if each.joined) if state is not None else frozenset()
        )


def remains(beginning: str, settings: Settings) -> Remains | None:
    """Claim what is left of a deployment that was begun with that, for one with these settings; None where there is none, or where it was
    begun again before and that came to nothing."""
    for deployment in left_behind():
        ledger = _ledger(deployment)
        if ledger is None or ledger.beginning != beginning or not _has_lived(ledger):
            continue
        folder = take(deployment)
        if folder is not None:
            _clear(folder)
            LOGGER.warning("deployment %s goes on: its processes were killed, and are begun again", deployment)
            noted = msgspec.structs.replace(ledger, settings=settings, times=ledger.times + 1)
            return Remains(folder, noted)
    return None


def beginning_of(
    models: Sequence[Wanted], settings: Settings, chains: Sequence[bytes], credential: Credential | None
) -> str:
    """A digest of what a deployment is begun with: models as they are cut, settings, the documents of chains, and who may join. Where callers
    and workers find it is no matter."""
    cut = [(each.name, each.version, each.digest, each.services, each.priority, _cut(each.plan)) for each in models]
    alike = replace(settings, join="anywhere")
    fingerprint = credential.fingerprint if credential is not None else ""
    return hashlib.sha256(msgspec.json.encode([__version__, alike, cut, chains, fingerprint])).hexdigest()


def _cut(plan: Plan) -> list[object]:
    """What a plan says but for predictions, which are measured anew each time."""
    stages = [msgspec.structs.replace(each, busy_s=0.0, events=0.0, parts=()) for each in plan.stages]
    return [plan.granularity, plan.frame_steps, plan.engine, plan.rate, stages]


def _ledger(deployment: str) -> Ledger | None:
    try:
        return read_ledger(deployment)
    except SynfireError as error:
        LOGGER.warning("what is left of deployment %s is of no use: %s", deployment, error)
        return None


def _has_lived(ledger: Ledger) -> bool:
    """Whether a controller has written since the deployment was begun the last time: whatever kept it from that may do so again."""
    return ledger.state is not None and ledger.state.first_epoch >= ledger.times * CONTROLLERS * EPOCHS


def _clear(folder: Path) -> None:
    """Remove sockets, keys and what processes had begun to write."""
    for each in folder.iterdir():
        if each.is_dir() and each.name != BLOBS:
            shutil.rmtree(each, ignore_errors=True)
        elif each.name != BLOBS:
            each.unlink(missing_ok=True)
