"""Kubernetes' own client, as users call it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synfire.base.errors import PermanentError, UserError


@dataclass(frozen=True)
class Kubectl:
    """The client `program`, as whoever `kubeconfig` says, in a namespace."""

    program: Path
    kubeconfig: Path
    namespace: str = "default"

    @classmethod
    def of_user(cls) -> Kubectl:
        """For the cluster that `KUBECONFIG` names. Raises `UserError` where there is no client, or no such file."""
        program, config = shutil.which("kubectl"), Path(os.environ["KUBECONFIG"])
        if program is None:
            raise UserError("KUBECONFIG is set, and there is no kubectl on the path; install it, or unset KUBECONFIG")
        if not config.is_file():
            raise UserError(f"KUBECONFIG is {config}, which is no file; name one, or unset it")
        return cls(Path(program), config)

    def within(self, namespace: str) -> Kubectl:
        """The same in another namespace."""
        return Kubectl(self.program, self.kubeconfig, namespace)

    def __call__(self, *words: str, given: str = "") -> str:
        """What it prints. Raises `PermanentError` with what it says when it fails."""
        known = self.kubeconfig.parent / "cache"  # what another cluster at the same address had is no help here
        command = [str(self.program), f"--kubeconfig={self.kubeconfig}", f"--cache-dir={known}"]
        command += [f"--namespace={self.namespace}", *words]
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
        if done.returncode:
            raise PermanentError(f"`kubectl {' '.join(words)}` fails with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def get(self, *words: str) -> dict[str, Any]:
        """An object, or a list of them, as the API server has it."""
        found: dict[str, Any] = json.loads(self("get", *words, "--output=json"))
        return found

    def apply(self, *documents: dict[str, Any], dry: bool = False) -> str:
        """Have the API server take these objects; `dry`: only check them, with all its admission."""
        whole = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
        words = ["--dry-run=server"] if dry else []
        return self("apply", "--filename=-", *words, given=json.dumps(whole))
