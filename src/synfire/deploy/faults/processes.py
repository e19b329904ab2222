"""Faults of processes: killed, stopped, slowed, lost together."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack

from synfire.deploy.faults.fault import FAULTS, Act, Fault, Options, Scene, Tell
from synfire.deploy.faults.grip import Grip

PERIOD_S = 0.02
"""One turn of a slowed process, stop and run. Well below a heartbeat's interval: it is slow, and does not look hung."""

SLOW_S, SHARE = 10.0, 0.25
"""How long a process is slowed, and how much of the time it still runs, where nothing else is said."""


class WorkerKill(Fault):
    name = "worker-kill"
    about = "SIGKILL to a worker"
    emulates = "a crash, or the kernel's out-of-memory killer: the process is gone at once, without a last word"
    target = "a worker's name, as `ps` shows it"

    def inject(self, target: str, scene: Scene, options: Options, tell: Tell) -> None:
        with Grip(scene.worker(target)) as grip:
            _send(grip, signal.SIGKILL, tell)


class WorkerStop(Fault):
    name = "worker-stop"
    about = "SIGSTOP to a worker; with --for, SIGCONT after so many seconds"
    emulates = "a hang: the process is there, its sockets accept, nothing is answered. Without --for it stays so"
    target = WorkerKill.target
    takes = ("for_s",)

    def inject(self, target: str, scene: Scene, options: Options, tell: Tell) -> None:
        with Grip(scene.worker(target)) as grip:
            if options.for_s is None:
                _send(grip, signal.SIGSTOP, tell)
                return
            try:
                _send(grip, signal.SIGSTOP, tell)
                grip.ended_within(options.for_s)
            finally:
                _send(grip, signal.SIGCONT, tell)


class WorkerSlow(Fault):
    name = "worker-slow"
    about = (
        f"SIGSTOP and SIGCONT to a worker in turns of {PERIOD_S * 1e3:.0f} ms, for --for seconds (default {SLOW_S:g}); it runs "
        f"--share of the time (default {SHARE:g})"
    )
    emulates = "a worker on a busy, throttled or failing machine: everything is answered, late"
    target = WorkerKill.target
    takes = ("for_s", "share")

    def inject(self, target: str, scene: Scene, options: Options, tell: Tell) -> None:
        share = SHARE if options.share is None else options.share
        for_s = SLOW_S if options.for_s is None else options.for_s
        with Grip(scene.worker(target)) as grip:
            process = grip.process
            tell(Act.now(f"slowed to {share:g} of the time", process.name, process.pid))
            turns = _slow(grip, share, time.monotonic() + for_s)
            ending = "ended" if grip.ended_within(0) else "runs freely again"
            tell(Act.now(f"{ending} after {turns} stops", process.name, process.pid))


class HostLost(Fault):
    name = "host-lost"
    about = "SIGKILL to several workers at once"
    emulates = "the loss of a machine with all workers on it; the gateway's machine is another"
    target = "workers' names, separated by commas"

    def inject(self, target: str, scene: Scene, options: Options, tell: Tell) -> None:
        names = [name.strip() for name in target.split(",")]
        with ExitStack() as stack:
            grips = [stack.enter_context(Grip(scene.worker(name))) for name in dict.fromkeys(names)]
            for grip in grips:
                _send(grip, signal.SIGKILL, tell)


class GatewayKill(Fault):
    name = "gateway-kill"
    about = "SIGKILL to a gateway's process"
    emulates = "a crash of a gateway: its connections break, and nobody else's; it is back within a second or two"
    target = "a gateway's name, as `synfire ps` shows it; may be left out where there is one"
    optional = True

    def inject(self, target: str, scene: Scene, options: Options, tell: Tell) -> None:
        with Grip(scene.role("gateway", target)) as grip:
            _send(grip, signal.SIGKILL, tell)


class ControllerKill(Fault):
    name = "controller-kill"
    about = "SIGKILL to the controller's process"
    emulates = "a crash of the controller: calls go on; what is lost meanwhile is replaced when it is back, within a second or two"

    def inject(self, target: str, scene: Scene, options: Options, tell: Tell) -> None:
        with Grip(scene.role("controller")) as grip:
            _send(grip, signal.SIGKILL, tell)


for kind in (WorkerKill, WorkerStop, WorkerSlow, HostLost, GatewayKill, ControllerKill):
    FAULTS.add(kind.name, kind())


def _send(grip: Grip, number: signal.Signals, tell: Tell) -> None:
    at_s, sent = time.time(), grip.send(number)
    tell(Act(number.name if sent else f"no {number.name}: it has ended", grip.process.name, at_s, grip.process.pid))


def _slow(grip: Grip, share: float, until_s: float) -> int:
    """Stop and continue the process until then, or until it ends; how often it was stopped."""
    turns = 0
    try:
        while time.monotonic() < until_s and grip.send(signal.SIGSTOP):
            turns += 1
            if grip.ended_within(PERIOD_S * (1 - share)):
                break
            grip.send(signal.SIGCONT)
            if grip.ended_within(PERIOD_S * share):
                break
    finally:
        grip.send(signal.SIGCONT)  # whatever interrupts us, nobody is left stopped
    return turns
