"""Objects in memory, persisted to SQLite by group commit.

Two kinds of storage share one database:

- *objects*: dictionaries by kind and id, all in memory, in order of creation, with secondary indexes;
- *texts*: write-once JSON texts (event snapshots, answers kept for idempotent replay) that stay on disk until read,
  so that a load test's million answers don't fill the memory.
"""

from __future__ import annotations

import json
import random
import sqlite3
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sandbox.engine.errors import JsonObject

_ALPHABET = string.ascii_letters + string.digits
_SHORT_IDS = frozenset({"cus", "prod", "sub", "ch", "si"})

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (kind TEXT, id TEXT, seq INTEGER, body TEXT, PRIMARY KEY (kind, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS texts (kind TEXT, id TEXT, body TEXT, PRIMARY KEY (kind, id)) WITHOUT ROWID;
"""


class StateRefused(Exception):
    """The state file is held by another process or is no database. Name another one with --state."""


class Store:
    """All state of one sandbox. Not thread-safe: one event loop owns it.

    ``get``, ``all`` and ``find`` hand out the stored dictionaries themselves. Change a copy and ``put`` it, or change
    the dictionary and ``put`` it at once: what is changed and not put is not persisted and not re-indexed.
    """

    def __init__(self, path: Path | None) -> None:
        """Open ``path`` (None: memory only) and load it.

        Raises:
            StateRefused: another sandbox runs on this file, or it is no database.
        """
        self._objects: dict[str, dict[str, JsonObject]] = {}
        self._indexes: dict[tuple[str, str], dict[Any, dict[str, None]]] = {}
        self._fields: dict[str, list[str]] = {}
        self._indexed: dict[tuple[str, str], tuple[Any, ...]] = {}
        self._seq: dict[tuple[str, str], int] = {}
        self._next_seq = 1
        self._dirty: dict[tuple[str, str], None] = {}
        self._dirty_texts: dict[tuple[str, str], str | None] = {}
        self._rng = random.Random(random.SystemRandom().getrandbits(64))
        self._db = _open(path)
        self._load()

    # -- objects ------------------------------------------------------------------------------------------------

    def get(self, kind: str, id: str) -> JsonObject | None:
        """Return the stored object or None."""
        of_kind = self._objects.get(kind)
        return of_kind.get(id) if of_kind else None

    def put(self, kind: str, obj: JsonObject) -> None:
        """Insert or replace by ``obj["id"]``; a replaced object keeps its place in the order of creation."""
        id = obj["id"]
        key = (kind, id)
        self._objects.setdefault(kind, {})[id] = obj
        if key not in self._seq:
            self._seq[key] = self._next_seq
            self._next_seq += 1
        fields = self._fields.get(kind)
        if fields:
            self._reindex(kind, id, fields, obj)
        self._dirty[key] = None

    def delete(self, kind: str, id: str) -> None:
        """Remove the object; unknown ids are ignored."""
        key = (kind, id)
        if self._objects.get(kind, {}).pop(id, None) is None:
            return
        self._unindex(kind, id)
        self._seq.pop(key, None)
        self._dirty[key] = None

    def bury(self, kind: str, id: str) -> JsonObject:
        """Delete an object and keep the tombstone that Stripe answers with from then on. Returns the tombstone."""
        self.delete(kind, id)
        tombstone = {"id": id, "object": kind, "deleted": True}
        self.put(f"_deleted.{kind}", tombstone)
        return tombstone

    def buried(self, kind: str, id: str) -> JsonObject | None:
        """Return the tombstone of a deleted object or None."""
        return self.get(f"_deleted.{kind}", id)

    def all(self, kind: str) -> list[JsonObject]:
        """Return every object of a kind, oldest first."""
        return list(self._objects.get(kind, {}).values())

    def count(self, kind: str) -> int:
        """Return how many objects of a kind exist."""
        return len(self._objects.get(kind, {}))

    def find(self, kind: str, field: str, value: Any) -> list[JsonObject]:
        """Return the objects whose ``field`` equals ``value``, oldest first.

        Raises:
            KeyError: the index was not declared with :meth:`index`.
        """
        ids = self._indexes[(kind, field)].get(value)
        if not ids:
            return []
        of_kind = self._objects[kind]
        return [of_kind[id] for id in ids]

    def index(self, kind: str, field: str) -> None:
        """Declare a secondary index. ``field`` may be dotted (``recurring.meter``). Declaring twice is harmless."""
        if (kind, field) in self._indexes:
            return
        self._indexes[(kind, field)] = {}
        self._fields.setdefault(kind, []).append(field)
        for id in self._objects.get(kind, {}):
            self._unindex(kind, id)
            self._reindex(kind, id, self._fields[kind], self._objects[kind][id])

    def new_id(self, prefix: str) -> str:
        """Return a fresh id such as ``cus_`` and 14 characters, or 24 for most other prefixes."""
        length = 14 if prefix in _SHORT_IDS else 24
        return f"{prefix}_{''.join(self._rng.choices(_ALPHABET, k=length))}"

    def _reindex(self, kind: str, id: str, fields: list[str], obj: JsonObject) -> None:
        key = (kind, id)
        values = tuple(_dotted(obj, field) for field in fields)
        before = self._indexed.get(key)
        if before == values:
            return
        if before is not None:
            self._unindex(kind, id)
        for field, value in zip(fields, values, strict=True):
            self._indexes[(kind, field)].setdefault(value, {})[id] = None
        self._indexed[key] = values

    def _unindex(self, kind: str, id: str) -> None:
        values = self._indexed.pop((kind, id), None)
        if values is None:
            return
        for field, value in zip(self._fields[kind], values, strict=False):
            ids = self._indexes[(kind, field)].get(value)
            if ids is not None:
                ids.pop(id, None)
                if not ids:
                    del self._indexes[(kind, field)][value]

    # -- texts --------------------------------------------------------------------------------------------------

    def put_text(self, kind: str, id: str, text: str) -> None:
        """Keep a text that is seldom read again."""
        self._dirty_texts[(kind, id)] = text

    def get_text(self, kind: str, id: str) -> str | None:
        """Return a kept text or None."""
        key = (kind, id)
        if key in self._dirty_texts:
            return self._dirty_texts[key]
        row = self._db.execute("SELECT body FROM texts WHERE kind = ? AND id = ?", key).fetchone()
        return row[0] if row else None

    def delete_text(self, kind: str, id: str) -> None:
        """Drop a kept text; unknown ids are ignored."""
        self._dirty_texts[(kind, id)] = None

    def purge_texts(self, kind: str, before: str) -> None:
        """Drop the kept texts of a kind that sort before ``before`` (they begin with their time)."""
        self._db.execute("DELETE FROM texts WHERE kind = ? AND body < ?", (kind, before))

    # -- durability ---------------------------------------------------------------------------------------------

    @property
    def is_dirty(self) -> bool:
        """Whether something waits for :meth:`commit`."""
        return bool(self._dirty or self._dirty_texts)

    def commit(self) -> None:
        """Write everything that changed in one transaction. Survives the death of the process (not of the machine)."""
        if not self.is_dirty:
            return
        dirty, self._dirty = self._dirty, {}
        texts, self._dirty_texts = self._dirty_texts, {}
        self._db.execute("BEGIN")
        self._db.executemany("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)", self._rows(dirty))
        gone = [key for key in dirty if key not in self._seq]
        if gone:
            self._db.executemany("DELETE FROM objects WHERE kind = ? AND id = ?", gone)
        if texts:
            kept = [(kind, id, body) for (kind, id), body in texts.items() if body is not None]
            self._db.executemany("INSERT OR REPLACE INTO texts VALUES (?, ?, ?)", kept)
            dropped = [key for key, body in texts.items() if body is None]
            self._db.executemany("DELETE FROM texts WHERE kind = ? AND id = ?", dropped)
        self._db.execute("COMMIT")

    def _rows(self, dirty: dict[tuple[str, str], None]) -> Iterator[tuple[str, str, int, str]]:
        dumps: Callable[[Any], str] = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
        for key in dirty:
            seq = self._seq.get(key)
            if seq is not None:
                kind, id = key
                yield kind, id, seq, dumps(self._objects[kind][id])

    def reset(self) -> None:
        """Forget everything; declared indexes stay."""
        self._objects.clear()
        self._seq.clear()
        self._indexed.clear()
        self._dirty.clear()
        self._dirty_texts.clear()
        for index in self._indexes.values():
            index.clear()
        self._db.execute("BEGIN")
        self._db.execute("DELETE FROM objects")
        self._db.execute("DELETE FROM texts")
        self._db.execute("COMMIT")

    def close(self) -> None:
        """Commit and release the state file."""
        self.commit()
        self._db.close()

    def _load(self) -> None:
        for kind, id, seq, body in self._db.execute("SELECT kind, id, seq, body FROM objects ORDER BY seq"):
            self._objects.setdefault(kind, {})[id] = json.loads(body)
            self._seq[(kind, id)] = seq
            self._next_seq = seq + 1


def _dotted(obj: JsonObject, field: str) -> Any:
    value: Any = obj
    for part in field.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(part)
    return value


def _open(path: Path | None) -> sqlite3.Connection:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path or ":memory:", timeout=0.2, isolation_level=None)
    try:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        # A checkpoint waits for the disk and holds up every request: make them few.
        db.execute("PRAGMA wal_autocheckpoint = 16000")
        db.executescript(_SCHEMA)
        db.execute("BEGIN IMMEDIATE")
        db.execute("COMMIT")
    except sqlite3.DatabaseError as error:
        db.close()
        if "locked" in str(error):
            raise StateRefused(f"{path} is in use by another sandbox") from error
        raise StateRefused(f"{path} cannot be used ({error})") from error
    return db
