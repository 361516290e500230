"""The versions of everything that is kept on disk, in one place.

A version grows when what is kept changes its meaning, not when a field is added that its readers may ignore. Whoever
makes one grow keeps this side of the bargain:

- Records of all earlier versions are read for ever: ``tests/data/records`` has some of each.
- The store gets a step (:data:`orchestra.builtin.sqlite_schema.STEPS`), also where it is only the record of a run that
  grows, which the store keeps as well: versions that do not know the record then leave the store alone.
- A reader that does not know a version says so, and leaves the file as it is.
"""

from __future__ import annotations

from typing import Final

FIRST: Final = 1
"""What a record is of that names no version."""

RUN: Final = 1
"""``run.json``, and the record of a run in a store."""
FENCE: Final = 1
EXIT: Final = 1
ORDERS: Final = 1
"""Read by the supervisor, too, which has no other file to learn it from."""
QUEUE_GROUPS: Final = 1
"""``queue.json``"""
ENVIRONMENT: Final = 1
"""``environment.json`` of an attempt."""
ARCHIVE: Final = 1
"""``orchestra-archive.json`` of an archive, and ``exported.json`` of each run in it: their ``format``."""
RESULTS: Final = 2
"""``scalars.json``: nobody refuses another version of it, for all of it can be worked out anew."""
RESULTS_INDEX: Final = 2
"""Of the tables in ``results.sqlite``, which is made anew where it is of another version, too."""
STORE: Final = 3
"""``PRAGMA user_version`` of the SQLite store."""
