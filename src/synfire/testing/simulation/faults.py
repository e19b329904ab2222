"""What strikes a simulated machine: one function for each kind of fault."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from synfire.control.state import READY
from synfire.testing.simulation.schedules import Fault
from synfire.testing.simulation.worker import SimulatedWorker
from synfire.worker.membranes import remembers

if TYPE_CHECKING:
    from synfire.testing.simulation.simulation import Simulation

WorkerFault = Callable[["Simulation", Fault, SimulatedWorker], None]


def strike(scene: Simulation, fault: Fault, acted: str = "") -> None:
    """Let a fault happen. It hits the worker `acted`, if that lives, or else one of those that live."""
    living = scene.network.living
    if fault.kind in ON_DEPLOYMENTS:
        ON_DEPLOYMENTS[fault.kind](scene, fault)
    elif living:
        name = acted if acted in living else living[fault.target % len(living)]
        ON_WORKERS[fault.kind](scene, fault, scene.network.worker(name))


def kill(scene: Simulation, fault: Fault, worker: SimulatedWorker) -> None:
    """A worker's process ends."""
    scene.tell("fault", f"kills {worker.name}")
    worker.process.die(-9)


def kill_several(scene: Simulation, fault: Fault, worker: SimulatedWorker) -> None:
    """Some workers' processes end at once."""
    for name in scene.network.living[: int(fault.amount)]:
        kill(scene, fault, scene.network.worker(name))


def cut(scene: Simulation, fault: Fault, worker: SimulatedWorker) -> None:
    """A link between two workers that live breaks; both ends see it, sooner or later."""
    for other in scene.network.living:
        if other != worker.name and scene.network.break_link(worker.name, other):
            scene.tell("fault", f"breaks the link between {worker.name} and {other}")
            return


def sever(scene: Simulation, fault: Fault, worker: SimulatedWorker) -> None:
    """The worker and the next one, which both live, do not reach each other for a while."""
    others = [name for name in scene.network.living if name != worker.name]
    if others:
        other = others[fault.target % len(others)]
        scene.tell("fault", f"keeps {worker.name} and {other} from each other for {fault.amount:.3f} s")
        scene.network.sever(worker.name, other, fault.amount)


def hang(scene: Simulation, fault: Fault, worker: SimulatedWorker) -> None:
    """A worker's process stands still for a while; when that is too long, it is ended."""
    scene.tell("fault", f"stops {worker.name} for {fault.amount:.3f} s")
    scene.network.hang(worker, fault.amount)


def cut_off(scene: Simulation, fault: Fault, worker: SimulatedWorker) -> None:
    """A worker and the gateway cannot reach each other any more; the worker lives on for a while, and knows nothing."""
    scene.tell("fault", f"cuts {worker.name} off, which lives on for {fault.amount:.3f} s")
    worker.process.reprieve_s = fault.amount
    scene.network.cut_off(worker.name)


def accuse(scene: Simulation, fault: Fault, worker: SimulatedWorker) -> None:
    """A worker that lives is taken to be dead, and goes on for a while."""
    scene.tell("fault", f"accuses {worker.name}, which lives on for {fault.amount:.3f} s")
    worker.process.reprieve_s = fault.amount
    scene.network.accuse(worker)


def leave(scene: Simulation, fault: Fault, worker: SimulatedWorker) -> None:
    """A worker is told to leave."""
    scene.tell("fault", f"tells {worker.name} to leave")
    worker.terminate()


def flip(scene: Simulation, fault: Fault, worker: SimulatedWorker) -> None:
    """Bits flip of what requests and sessions have left at a worker, or leave next."""
    stages = [stage for stage in worker.core.stages.values() if remembers(stage)]
    for n in range(int(fault.amount) if stages else 0):
        stage = stages[(fault.target + n) % len(stages)]
        scene.tell("fault", f"in {worker.name}, {stage.name}: {worker.core.flip(stage, fault.target + n)}")


def no_start(scene: Simulation, fault: Fault) -> None:
    """The next workers do not start."""
    scene.tell("fault", f"lets the next {int(fault.amount)} workers fail to start")
    scene.network.failing_starts += int(fault.amount)


def remove(scene: Simulation, fault: Fault) -> None:
    """A model is served no longer."""
    names = [name for name, *_ in scene.schedule.placed if scene.serves(name)]
    if names:
        scene.operating.append(asyncio.ensure_future(scene.remove(names[fault.target % len(names)])))


def add(scene: Simulation, fault: Fault) -> None:
    """A model that is not served is served from now on; not where room is short, which its plan knows nothing of."""
    placed = [each for each in scene.schedule.placed if not scene.serves(each[0]) and not scene.schedule.memory]
    if placed:
        scene.operating.append(asyncio.ensure_future(scene.add(*placed[fault.target % len(placed)])))


def drain(scene: Simulation, fault: Fault) -> None:
    """Somebody has everything leave a worker that is ready."""
    ready = sorted(each.name for each in scene.state.workers.values() if each.status == READY)
    if ready:
        scene.operating.append(asyncio.ensure_future(scene.order("drain", ready[fault.target % len(ready)])))


def rebalance(scene: Simulation, fault: Fault) -> None:
    """Somebody has the stages spread evenly."""
    scene.operating.append(asyncio.ensure_future(scene.order("rebalance")))


def upgrade(scene: Simulation, fault: Fault) -> None:
    """Somebody has all workers replaced."""
    scene.operating.append(asyncio.ensure_future(scene.order("upgrade")))


def kill_controller(scene: Simulation, fault: Fault) -> None:
    """The controller's process ends."""
    end_process(scene, "controller", "controller died")


def kill_gateway(scene: Simulation, fault: Fault) -> None:
    """A gateway's process ends."""
    end_process(scene, f"gateway-{fault.target % max(scene.schedule.gateways, 1)}", "gateway died")


def end_process(scene: Simulation, name: str, exit: str) -> None:
    """A process ends, if it is there."""
    child = scene.served.machine.children.get(name) if scene.served else None
    if child is not None and not child.life.over:
        scene.tell("fault", f"kills {name}")
        scene.killed(name)
        child.die(-9)
        scene.occasion(exit)


ON_WORKERS: dict[str, WorkerFault] = {
    "kill": kill,
    "kill several": kill_several,
    "cut": cut,
    "sever": sever,
    "hang": hang,
    "cut off": cut_off,
    "accuse": accuse,
    "leave": leave,
    "flip": flip,
}

ON_DEPLOYMENTS: dict[str, Callable[[Simulation, Fault], None]] = {
    "no start": no_start,
    "kill controller": kill_controller,
    "kill gateway": kill_gateway,
    "drain": drain,
    "rebalance": rebalance,
    "upgrade": upgrade,
    "remove": remove,
    "add": add,
}
