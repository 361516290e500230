"""A store for Orchestra that many machines share: a PostgreSQL database."""

from __future__ import annotations

from orchestra_postgres.options import Options
from orchestra_postgres.store import PostgresStore, open_store

__all__ = ["Options", "PostgresStore", "open_store"]
