"""What queues, and others that execute in a process of ours, have been told beside signals, and tell: files in the
directory of the attempt."""

from __future__ import annotations

from pathlib import Path

_STOP_RUNS = "stop-runs"
_STOPPING = "stopping"
_STOP = "stop"


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


def order_stop(attempt_dir: Path, how: str) -> None:
    """Have what executes in a process that does other things, too, stop."""
    (attempt_dir / _STOP).write_text(how)


def stop_ordered(attempt_dir: Path) -> str | None:
    """How it was told to stop; None: it was not, or not yet all of it can be read."""
    try:
        return (attempt_dir / _STOP).read_text() or None
    except OSError:
        return None
