"""Documents as YAML, on their way out; and keys, which are drawn once."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synfire.base.errors import UserError
from synfire.kubernetes.manifests.description import LEAST_TOKEN, Keys
from synfire.kubernetes.manifests.parts import Document
from synfire.kubernetes.manifests.rendering import SECRET
from synfire.store.files import explained, write_atomically

EXTRA = "kubernetes"


def to_yaml(documents: Sequence[Document]) -> str:
    """One stream of documents, keys in their given order. Raises `UserError` without PyYAML."""
    yaml = _library()
    return "".join("---\n" + yaml.safe_dump(each, sort_keys=False, width=120) for each in documents)


def fresh_keys() -> Keys:
    """Keys that nobody can guess."""
    return Keys(secrets.token_urlsafe(LEAST_TOKEN), secrets.token_hex(LEAST_TOKEN))


def keys_of(folder: Path) -> Keys:
    """The keys that were rendered there before, so that rendering again changes none; fresh ones where there are none.

    Raises `UserError` for a Secret that is not as it was written.
    """
    file = folder / SECRET
    if not file.exists():
        return fresh_keys()
    with explained(file, "read"):
        text = file.read_text()
    try:
        data = _library().safe_load(text)["stringData"]
        return Keys(data.get("api-key") or fresh_keys().api_key, data["join-token"])
    except (_library().YAMLError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{file} is no Secret with stringData of a join-token; mend it, or delete it for new keys"
        ) from error


def write(folder: Path, files: Mapping[str, Sequence[Document]]) -> None:
    """Each file of these, atomically; what else is in the folder stays. Only its owner may read the Secret."""
    for name, documents in files.items():
        path, content = folder / name, to_yaml(documents).encode()
        if name == SECRET:
            _write_secret(path, content)
        else:
            write_atomically(path, content, lasting=False)


def _write_secret(path: Path, content: bytes) -> None:
    with explained(path, "write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".new-{path.name}")
        draft.unlink(missing_ok=True)
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        draft.replace(path)


def _library() -> Any:
    try:
        import yaml
    except ImportError as error:
        raise UserError(f"manifests need PyYAML: pip install 'synfire[{EXTRA}]'") from error
    return yaml
