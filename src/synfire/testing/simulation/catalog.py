"""What is on a simulated disk: the catalog, and blobs."""

from __future__ import annotations

from types import SimpleNamespace

from synfire.base.errors import Bug, UnknownName


class SimulatedCatalog:
    """What is kept on a simulated disk; see `synfire.store.Catalog`. What a process has not written by its end is not there."""

    def __init__(self) -> None:
        self.path = SimpleNamespace(exists=lambda: True)
        self._present: dict[tuple[str, str], bytes] = {}
        self._journals: dict[str, dict[str, str]] = {}

    def keep(self, kind: str, entry_id: str, content: bytes) -> None:
        self._present[kind, entry_id] = content

    def current(self, kind: str, entry_id: str) -> bytes:
        if (kind, entry_id) not in self._present:
            raise UnknownName.among(kind, entry_id, [name for _, name in self._present])
        return self._present[kind, entry_id]

    def drop(self, kind: str, entry_id: str) -> None:
        self._present.pop((kind, entry_id), None)

    def append(self, kind: str, entry_id: str, content: str) -> None:
        known = self._journals.setdefault(kind, {}).setdefault(entry_id, content)
        if known != content:
            raise Bug(f"the journal {kind!r} has another entry {entry_id!r}; ids are given once")

    def begun(self, kind: str, prefix: str) -> list[str]:
        return [content for name, content in self._journals.get(kind, {}).items() if name.startswith(prefix)]

    def recent(self, kind: str, count: int) -> list[str]:
        return list(self._journals.get(kind, {}).values())[-count:]
