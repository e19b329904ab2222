"""Passages in SQLite: their vectors, their words (FTS5), and which of them speak of which."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FILE = Path(os.environ.get("RETRIEVAL_FILE", Path(__file__).with_name("passages.db")))

_SCHEMA = """
CREATE TABLE passage (id INTEGER PRIMARY KEY, title TEXT UNIQUE, text TEXT, vector BLOB);
CREATE VIRTUAL TABLE words USING fts5 (title, text, content='passage', content_rowid='id', tokenize='porter');
CREATE TABLE speaks_of (one INTEGER, other INTEGER, PRIMARY KEY (one, other));
"""

_NEAR = """
WITH RECURSIVE near (id, hops) AS (
    SELECT ?, 0 UNION SELECT other, hops + 1 FROM near JOIN speaks_of ON one = id WHERE hops < 2
)
SELECT id FROM near WHERE hops > 0 GROUP BY id ORDER BY min(hops), id
"""


def build(passages: Iterable[tuple[str, str, NDArray[np.float32]]], file: Path = FILE) -> None:
    """Make the file anew of passages: a title, a text whose `See a, b.` names others, and a vector of length 1."""
    file.unlink(missing_ok=True)
    with sqlite3.connect(file) as db:
        db.executescript(_SCHEMA)
        rows = [(title, text, vector.astype("<f4").tobytes()) for title, text, vector in passages]
        db.executemany("INSERT INTO passage (title, text, vector) VALUES (?, ?, ?)", rows)
        db.execute("INSERT INTO words (rowid, title, text) SELECT id, title, text FROM passage")
        for title, text, _ in rows:
            for other in re.findall(r"\w+", "".join(re.findall(r"See ([\w, ]+)\.", text))):
                db.execute(
                    "INSERT OR IGNORE INTO speaks_of SELECT a.id, b.id FROM passage a, passage b WHERE a.title = ? AND b.title = ?",
                    (title, other),
                )
    db.close()


def found(question: str, vector: NDArray[np.float32], most: int = 3, file: Path = FILE) -> list[tuple[str, str]]:
    """The passages that belong to a question, the best first, each a title and a text.

    Three orders are merged, each giving 1 / (60 + place): by the vectors' cosine, by words (BM25), and, from the best of both, along who speaks of
    whom.
    """
    db = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        by_vector, by_words = _by_vector(db, vector), _by_words(db, question)
        first = _merged(by_vector, by_words)[:1]
        by_graph = [each for (each,) in db.execute(_NEAR, first)] if first else []
        best = _merged(by_vector, by_words, by_graph)[:most]
        return [db.execute("SELECT title, text FROM passage WHERE id = ?", (each,)).fetchone() for each in best]
    finally:
        db.close()


def _by_vector(db: sqlite3.Connection, vector: NDArray[np.float32]) -> list[int]:
    rows = db.execute("SELECT id, vector FROM passage ORDER BY id").fetchall()
    vectors = np.stack([np.frombuffer(each, "<f4") for _, each in rows])
    return [rows[place][0] for place in np.argsort(-(vectors @ vector), kind="stable")[:5]]


def _by_words(db: sqlite3.Connection, question: str) -> list[int]:
    asked = " OR ".join(f'"{word}"' for word in re.findall(r"\w+", question.lower()) if len(word) > 3)
    if not asked:
        return []
    return [
        each for (each,) in db.execute("SELECT rowid FROM words WHERE words MATCH ? ORDER BY rank LIMIT 5", (asked,))
    ]


def _merged(*orders: list[int]) -> list[int]:
    scores: dict[int, float] = {}
    for order in orders:
        for place, each in enumerate(order):
            scores[each] = scores.get(each, 0.0) + 1 / (60 + place)
    return sorted(scores, key=lambda each: (-scores[each], each))
