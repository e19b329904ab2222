"""A machine of a cluster: a network namespace, a mount namespace, control groups, and the programs that run there.

Each has folders of its own in the places where Kubernetes' programs keep things by fixed names, so that several kubelets do not know of
each other. The mount namespace is that of the program that was begun first, and goes with the last.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from synfire.base.errors import PermanentError
from synfire.base.processes import end_with_parent
from synfire.deploy.network import Host
from synfire.testing.kubernetes.cgroups import PROGRAMS, Group

PRIVATE = ("/var/lib", "/var/log", "/run")
"""What a machine has for itself."""

SETTINGS = tuple(
    f"/proc/sys/{each}"
    for each in (
        "vm/overcommit_memory",
        "vm/panic_on_oom",
        "kernel/panic",
        "kernel/panic_on_oops",
        "kernel/keys/root_maxkeys",
        "kernel/keys/root_maxbytes",
    )
)
"""What a kubelet sets in the kernel. A machine has files in their places, so that the kernel keeps what it has."""

READY_S = 90.0
"""Within which a program has to do what it is there for; on a busy machine they take 10 s."""

_LAST_LINES = 8


class Program:
    """A program that runs on a machine. What it says goes into the file `log`."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    def require(self) -> None:
        """Raises `PermanentError` with its last lines when it has ended."""
        if (code := self.process.poll()) is not None:
            raise PermanentError(f"{self.name} has ended with {code}; {self.log} ends with:\n{self.said()}")

    def said(self) -> str:
        """The end of what it says."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-_LAST_LINES:])

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait for it. Raises `PermanentError` when the program ends before, or it does not come about."""
        late_s = time.monotonic() + READY_S
        pause = threading.Event()
        while not holds():
            self.require()
            if time.monotonic() > late_s:
                raise PermanentError(
                    f"{self.name} runs, and still {what} after {READY_S:.0f} s; {self.log} ends with:\n{self.said()}"
                )
            pause.wait(0.05)

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it, and wait for that. What it has begun may go on."""
        self.process.send_signal(how)
        return self.process.wait()


class Machine:
    """One of a cluster's machines, on `host`; what it keeps lies in `folder`, and its groups are below `group`."""

    def __init__(self, name: str, host: Host, folder: Path, group: str) -> None:
        self.name = name
        self.host = host
        self.folder = folder
        self.group = Group(f"{group}/{name}")
        self.programs: dict[str, Program] = {}
        self._own = Group(f"{self.group.name}/{PROGRAMS}")

    def make(self) -> None:
        """Its folders and control groups."""
        for each in PRIVATE:
            (self.folder / each[1:]).mkdir(parents=True)
        for each in SETTINGS:
            copy = self.folder / each[1:]
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(Path(each).read_text())
        self._own.make()

    @property
    def inside(self) -> tuple[str, ...]:
        """What a command line begins with to run there, once a program does."""
        for each in self.programs.values():
            if each.process.poll() is None:
                return ("nsenter", f"--mount=/proc/{each.process.pid}/ns/mnt", *self.host.inside[1:])
        return (*self.host.inside, *self._apart)

    def begin(self, name: str, words: Sequence[str], environment: Mapping[str, str] | None = None) -> Program:
        """Begin a program there. It is told to end when this process has."""
        log = self.folder / f"{name}.log"
        with log.open("ab") as said:
            process = subprocess.Popen(
                [*self.inside, *words],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                preexec_fn=self._enter,
                process_group=0,
            )
        program = self.programs[name] = Program(name, process, log)
        return program

    def run(self, words: Sequence[str], given: Path = Path(os.devnull)) -> str:
        """Run a command there to its end, with a file to read, and return what it prints. Raises `PermanentError` when it fails."""
        with given.open("rb") as content:
            done = subprocess.run(
                [*self.inside, *words],
                stdin=content,
                capture_output=True,
                text=True,
                preexec_fn=self._enter,
                check=False,
            )
        if done.returncode:
            raise PermanentError(
                f"`{' '.join(words)}` fails on {self.name} with {done.returncode}: {(done.stderr or done.stdout).strip()}"
            )
        return done.stdout

    def does(self, words: Sequence[str]) -> bool:
        """Whether a command ends well there."""
        try:
            self.run(words)
        except PermanentError:
            return False
        return True

    def lose_power(self) -> None:
        """End all that runs there at once, containers too."""
        self.group.kill()
        for each in self.programs.values():
            each.process.wait()
        self.programs.clear()

    @property
    def _apart(self) -> tuple[str, ...]:
        """A mount namespace with the machine's own folders."""
        binds = "".join(f"mount --bind {self.folder}{each} {each}; " for each in (*SETTINGS, *PRIVATE))
        return ("unshare", "--mount", "--propagation", "private", "--", "sh", "-ec", f'{binds} exec "$@"', "sh")

    def _enter(self) -> None:
        end_with_parent()
        self._own.enter()
        os.umask(0o022)
