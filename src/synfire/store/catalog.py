"""What a deployment has to know after a restart: models by name and version, what is so now, and journals of what has happened."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from synfire.base import paths
from synfire.base.errors import Bug, PermanentError, TemporaryError, UnknownName, UserError
from synfire.store.files import explained
from synfire.store.names import ModelName

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS model (
        name TEXT NOT NULL, version INTEGER NOT NULL, manifest TEXT NOT NULL, added_s REAL NOT NULL,
        PRIMARY KEY (name, version)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS tag (
        name TEXT NOT NULL, tag TEXT NOT NULL, manifest TEXT NOT NULL, source TEXT NOT NULL, added_s REAL NOT NULL,
        PRIMARY KEY (name, tag)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS journal (
        number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, id TEXT NOT NULL, content TEXT NOT NULL,
        UNIQUE (kind, id)
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS present (
        kind TEXT NOT NULL, id TEXT NOT NULL, content BLOB NOT NULL, PRIMARY KEY (kind, id)
    ) WITHOUT ROWID
    """,
)


@dataclass(frozen=True)
class Entry:
    """One version of a model. `manifest` is the digest of its manifest blob, `added_s` Unix time in seconds."""

    name: str
    version: int
    manifest: str
    added_s: float

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True)
class Tagged:
    """A named model: which manifest `name` stands for, where it came from (`source`), and since when, in Unix seconds."""

    name: ModelName
    manifest: str
    source: str
    added_s: float


class Catalog:
    """The models, present facts and journals of one store, in a SQLite file; `path` defaults to `SYNFIRE_HOME/catalog.sqlite`.

    Safe for several processes; a call that finds the file locked for 10 s raises `TemporaryError`.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or paths.home() / "catalog.sqlite"

    def add(self, name: str, manifest: str) -> Entry:
        """Add the next version of `name`; the manifest that is the newest version already is returned as it is."""
        if not _NAME.fullmatch(name):
            raise UserError(f"{name!r} is no model name; use letters, digits, '.', '_' and '-' (128 at most)")
        with self._connection() as connection:
            newest = _newest(connection, name)
            if newest and newest.manifest == manifest:
                return newest
            if connection.execute("SELECT 1 FROM tag WHERE name = ?", (name,)).fetchone():
                raise UserError(f"{name!r} is a model of another kind here; choose another name, or `synfire rm` that")
            entry = Entry(name, newest.version + 1 if newest else 1, manifest, time.time())
            connection.execute("INSERT INTO model VALUES (?, ?, ?, ?)", (name, entry.version, manifest, entry.added_s))
            return entry

    def find(self, reference: str) -> Entry:
        """The entry of `name` (its newest version) or `name@n`. Raises `UnknownName`."""
        name, version = _parse(reference)
        with self._connection() as connection:
            found = _newest(connection, name) if version is None else _one(connection, name, version)
            if found is None:
                known = [str(Entry(*row)) for row in connection.execute("SELECT * FROM model")]
                raise UnknownName.among("stored model", reference, known)
            return found

    def entries(self) -> list[Entry]:
        """All versions of all models, by name and version."""
        with self._connection() as connection:
            return [Entry(*row) for row in connection.execute("SELECT * FROM model ORDER BY name, version")]

    def remove(self, reference: str) -> Entry:
        """Forget one version (`name`: the newest); its blobs stay. Raises `UnknownName`."""
        entry = self.find(reference)
        with self._connection() as connection:
            connection.execute("DELETE FROM model WHERE name = ? AND version = ?", (entry.name, entry.version))
        return entry

    def tag(self, name: ModelName, manifest: str, source: str) -> Tagged:
        """Let `name` stand for this manifest, whatever it stood for before. Raises `UserError` where a graph is called so."""
        entry = Tagged(name, manifest, source, time.time())
        with self._connection() as connection:
            if _newest(connection, name.name):
                raise UserError(f"{name.name!r} is an imported graph; choose another name, or `synfire rm` that")
            row = (name.name, name.tag, manifest, source, entry.added_s)
            connection.execute("INSERT OR REPLACE INTO tag VALUES (?, ?, ?, ?, ?)", row)
        return entry

    def tagged(self, name: ModelName) -> Tagged | None:
        """What `name` stands for; None where it stands for nothing."""
        with self._connection() as connection:
            where = "SELECT * FROM tag WHERE name = ? AND tag = ?"
            return _tagged(connection.execute(where, (name.name, name.tag)).fetchone())

    def tags(self) -> list[Tagged]:
        """All named models, by name and tag."""
        with self._connection() as connection:
            rows = connection.execute("SELECT * FROM tag ORDER BY name, tag").fetchall()
            return [found for row in rows if (found := _tagged(row))]

    def untag(self, name: ModelName) -> None:
        """Let `name` stand for nothing; its blobs stay. A name that stands for nothing is no error."""
        with self._connection() as connection:
            connection.execute("DELETE FROM tag WHERE name = ? AND tag = ?", (name.name, name.tag))

    def append(self, kind: str, entry_id: str, content: str) -> None:
        """Add an entry to the journal of this kind; the same entry again changes nothing.

        Raises `Bug` for an id that another entry of the kind has.
        """
        with self._connection() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO journal (kind, id, content) VALUES (?, ?, ?)", (kind, entry_id, content)
            )
            where = "SELECT content FROM journal WHERE kind = ? AND id = ?"
            if connection.execute(where, (kind, entry_id)).fetchone() != (content,):
                raise Bug(f"the journal {kind!r} of {self.path} has another entry {entry_id!r}; ids are given once")

    def recent(self, kind: str, count: int) -> list[str]:
        """The newest entries of the journal of this kind, at most `count` of them, the newest last."""
        with self._connection() as connection:
            newest = "SELECT content FROM journal WHERE kind = ? ORDER BY number DESC LIMIT ?"
            return [content for (content,) in connection.execute(newest, (kind, count))][::-1]

    def begun(self, kind: str, prefix: str) -> list[str]:
        """All entries of the journal of this kind whose ids begin with `prefix`, the newest last."""
        with self._connection() as connection:
            alike = "SELECT content FROM journal WHERE kind = ? AND substr(id, 1, ?) = ? ORDER BY number"
            return [content for (content,) in connection.execute(alike, (kind, len(prefix), prefix))]

    def keep(self, kind: str, entry_id: str, content: bytes) -> None:
        """Keep what is so now, in place of what was kept under this kind and id before."""
        with self._connection() as connection:
            connection.execute("INSERT OR REPLACE INTO present VALUES (?, ?, ?)", (kind, entry_id, content))

    def current(self, kind: str, entry_id: str) -> bytes:
        """What was kept last under this kind and id. Raises `UnknownName`."""
        with self._connection() as connection:
            where = "SELECT content FROM present WHERE kind = ? AND id = ?"
            row = connection.execute(where, (kind, entry_id)).fetchone()
            if row is None:
                known = [name for (name,) in connection.execute("SELECT id FROM present WHERE kind = ?", (kind,))]
                raise UnknownName.among(kind, entry_id, known)
            return bytes(row[0])

    def kept(self, kind: str) -> list[str]:
        """The ids under which something of this kind is kept."""
        with self._connection() as connection:
            return [name for (name,) in connection.execute("SELECT id FROM present WHERE kind = ?", (kind,))]

    def drop(self, kind: str, entry_id: str) -> None:
        """Keep it no longer; what is not there is no error."""
        with self._connection() as connection:
            connection.execute("DELETE FROM present WHERE kind = ? AND id = ?", (kind, entry_id))

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with explained(self.path, "write"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = None
        try:
            connection = sqlite3.connect(self.path, timeout=10.0, isolation_level=None)
            connection.execute("BEGIN IMMEDIATE")
            for table in _SCHEMA:
                connection.execute(table)
            yield connection
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._explanation(error) from error
        finally:
            if connection is not None:
                connection.close()

    def _explanation(self, error: sqlite3.Error) -> UserError | TemporaryError | PermanentError:
        code = getattr(error, "sqlite_errorname", "")
        if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return TemporaryError(f"the catalog {self.path} is locked by another process; try again", 1.0)
        if code.startswith("SQLITE_FULL"):
            return TemporaryError(f"cannot write the catalog {self.path}: no space left there; free some", 60.0)
        if code.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM")):
            return UserError(
                f"cannot open the catalog {self.path}: {error}; check its permissions, or set SYNFIRE_HOME"
            )
        return PermanentError(f"the catalog {self.path} is damaged ({error}); move it away and import the models again")


def _parse(reference: str) -> tuple[str, int | None]:
    name, at, version = reference.partition("@")
    if at and not version.isdecimal():
        raise UserError(f"{reference!r} names no version; write it as name@n with a whole number n, or as name")
    return name, int(version) if at else None


def _newest(connection: sqlite3.Connection, name: str) -> Entry | None:
    row = connection.execute("SELECT * FROM model WHERE name = ? ORDER BY version DESC LIMIT 1", (name,)).fetchone()
    return Entry(*row) if row else None


def _one(connection: sqlite3.Connection, name: str, version: int) -> Entry | None:
    row = connection.execute("SELECT * FROM model WHERE name = ? AND version = ?", (name, version)).fetchone()
    return Entry(*row) if row else None


def _tagged(row: tuple[str, str, str, str, float] | None) -> Tagged | None:
    return Tagged(ModelName(row[0], row[1]), *row[2:]) if row else None
