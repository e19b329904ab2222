"""Faults of emulated chips, and of states that workers hold, injected into the worker as a message at its own door."""

from __future__ import annotations

import random
import re
from typing import ClassVar

from synfire.base.errors import UnknownName, UserError
from synfire.deploy.faults.door import ask
from synfire.deploy.faults.fault import FAULTS, Act, Fault, Options, Scene, Tell
from synfire.wire.messages import Inject, Injected, error_of

_TARGET = re.compile(r"(?P<worker>[^/:]+)(?:/(?P<stage>[^:]+))?(?::(?P<place>.+))?")


class ChipFault(Fault):
    """A fault of the chip under a stage. What the target leaves open is drawn by `--seed`."""

    optional = True
    takes: ClassVar[tuple[str, ...]] = ("seed",)
    place: ClassVar[str]
    """How a place on the chip is written; empty where there is none to name."""
    nowhere: ClassVar[str] = (
        "no worker of this deployment runs a stage on an emulated chip; serve with --device darwin3, or, where the chips are "
        "dead already, start the deployment again"
    )
    """What is said where no worker has anything of the kind."""

    def inject(self, target: str, scene: Scene, options: Options, tell: Tell) -> None:
        seed = random.SystemRandom().getrandbits(32) if options.seed is None else options.seed
        worker, stage, place = _parts(target, self.place)
        for name in (worker,) if worker else _shuffled(scene, seed):
            order = Inject(self.name, stage, place, seed, bool(options.stuck))
            answer = ask(scene, name, order, Injected)
            if answer.kind == UnknownName.__name__ and not worker:
                continue  # this one has no device; another may
            if answer.kind:
                raise error_of(answer)
            tell(Act.now(f"{answer.did} (emulated)", f"{name}/{answer.stage}", scene.worker(name).pid))
            return
        raise UserError(self.nowhere)


class CoreDead(ChipFault):
    name = "core-dead"
    about = "a core of an emulated chip dies: its neurons are silent, and it takes no words"
    emulates = "a core that fails for good and is reported by the chip at once. Its router goes on (assumed)"
    place = "X,Y"
    target = f"WORKER[/MODEL.STAGE][:{place}]"


class MeshLinkDead(ChipFault):
    name = "mesh-link-dead"
    about = "a link between two neighbouring cores of an emulated chip carries nothing more, both ways"
    emulates = "a broken wire or router port, reported by the chip at once; spikes whose XY route crosses it are lost"
    place = "X,Y-X,Y"
    target = f"WORKER[/MODEL.STAGE][:{place}]"


class ChipDead(ChipFault):
    name = "chip-dead"
    about = "an emulated chip answers nothing any more"
    emulates = "a chip that fails whole, or loses its power; the process that drives it lives"
    place = ""
    target = "WORKER[/MODEL.STAGE]"


class WeightBit(ChipFault):
    name = "weight-bit"
    about = "a bit of an emulated chip's dendrite memory is flipped once; with --stuck, it is held at the other value for good"
    emulates = "a particle, or a worn cell. No hardware notices: only known-answer tests do"
    place = "X,Y[@ADDRESS.BIT]"
    target = f"WORKER[/MODEL.STAGE][:{place}]"
    takes = ("seed", "stuck")


class MembraneBit(ChipFault):
    name = "membrane-bit"
    about = (
        "a bit of a membrane is flipped: on an emulated chip in the midst of what runs next, on a processor in a state that a "
        "session or a request has left, or leaves next"
    )
    emulates = "a particle that hits the state of a request or a session. No hardware notices"
    nowhere = "no worker of this deployment holds a stage with a membrane; name a model whose operators have a state"
    place = "X,Y[@NEURON.BIT]"
    target = f"WORKER[/MODEL.STAGE][:{place}]"


for kind in (CoreDead, MeshLinkDead, ChipDead, WeightBit, MembraneBit):
    FAULTS.add(kind.name, kind())


def _parts(target: str, place: str) -> tuple[str, str, str]:
    """Worker, stage and place. Raises `UserError` for another form."""
    if not target:
        return "", "", ""
    found = _TARGET.fullmatch(target)
    if found is None:
        form = f"WORKER[/MODEL.STAGE]{f'[:{place}]' if place else ''}"
        raise UserError(f"{target!r} is no target on a chip; write {form}, such as worker-1:3,4")
    return found["worker"], found["stage"] or "", found["place"] or ""


def _shuffled(scene: Scene, seed: int) -> list[str]:
    """The workers that live, in an order that the seed gives."""
    living = sorted(name for name, process in scene.workers.items() if process.alive)
    random.Random(seed).shuffle(living)
    return living
