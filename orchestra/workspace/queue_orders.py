"""What a queue that is at work has been told beside its signals, and tells: files in the directory of its attempt."""

from __future__ import annotations

from pathlib import Path

_STOP_RUNS = "stop-runs"
_STOPPING = "stopping"


def set_stop_runs(attempt_dir: Path, wanted: bool) -> None:
    """Have the queue of that attempt stop its runs when it is told to end, or leave them running."""
    if wanted:
        (attempt_dir / _STOP_RUNS).touch()
    else:
        (attempt_dir / _STOP_RUNS).unlink(missing_ok=True)


def is_to_stop_runs(attempt_dir: Path) -> bool:
    """Whether the queue of that attempt was told so."""
    return (attempt_dir / _STOP_RUNS).exists()


def tell_stopping(attempt_dir: Path) -> None:
    """Note that the queue of that attempt starts nothing any more, and only waits for its runs."""
    (attempt_dir / _STOPPING).touch()


def is_stopping(attempt_dir: Path) -> bool:
    """Whether it does."""
    return (attempt_dir / _STOPPING).exists()
