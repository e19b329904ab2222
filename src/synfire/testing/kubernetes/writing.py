"""Files that Kubernetes' programs are set up by. They read YAML, and so JSON."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

from synfire.testing.kubernetes.certificates import Pair


def write_json(path: Path, document: dict[str, Any]) -> Path:
    """Write the document there, for its owner alone."""
    path.touch(0o600)
    path.write_text(json.dumps(document, indent=2))
    return path


def kubeconfig(path: Path, url: str, authority: Path, caller: Pair) -> Path:
    """Who calls the API server, and where it is. Certificates and key are in the file itself, so it can be copied."""
    name = "synfire"
    cluster = {"server": url, "certificate-authority-data": _encoded(authority)}
    user = {"client-certificate-data": _encoded(caller.certificate), "client-key-data": _encoded(caller.key)}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    return write_json(path, document)


def _encoded(file: Path) -> str:
    return b64encode(file.read_bytes()).decode()
