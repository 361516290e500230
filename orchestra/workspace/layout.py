"""Where things are: the folders of a home, and those of a run."""

from __future__ import annotations

import os
from pathlib import Path

from orchestra.errors import HomeError, text_of_os_error
from orchestra.model.ids import check_run_id
from orchestra.model.run import Run

CONTROL = ".orchestra"
"""The folder below a run's directory that holds what is ours."""

REPLACING = "replacing"
"""The folder in it that is there while the run's source is replaced."""
ATTEMPTS = "attempts"
FIRST_ATTEMPT = 1


def control(run_dir: Path) -> Path:
    """The folder of a run's records."""
    return run_dir / CONTROL


def attempt_directory(run_dir: Path, attempt: int) -> Path:
    """The folder of one attempt's records."""
    return run_dir / f"{CONTROL}/{ATTEMPTS}/{attempt}"


class Layout:
    """The folders below one home. Makes nothing until :meth:`ensure_home` is called."""

    __slots__ = ("home", "is_passing", "shown")

    is_passing: bool
    """The runs' directories are there only for now, and nothing to tell a person of."""

    control = staticmethod(control)
    attempt_directory = staticmethod(attempt_directory)

    def __init__(self, home: Path | str) -> None:
        self.home = Path(os.path.abspath(os.path.expanduser(home)))
        """Absolute; links are kept as they were given."""
        self.is_passing = False
        self.shown = ""
        """What a person called the archive that the runs are in; empty for those of a home."""

    def __repr__(self) -> str:
        return f"Layout({str(self.home)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layout) and other.home == self.home

    def __hash__(self) -> int:
        return hash(self.home)

    @property
    def runs_dir(self) -> Path:
        """The run directories, each named by its run's id."""
        return self.home / "runs"

    @property
    def store_path(self) -> Path:
        """The SQLite file of the default store."""
        return self.home / "store.db"

    @property
    def cache_dir(self) -> Path:
        """What can be made again at any time."""
        return self.home / "cache"

    @property
    def secrets_dir(self) -> Path:
        """The values of secrets that runs need: no record of a run has them."""
        return self.home / "secrets"

    @property
    def trash_dir(self) -> Path:
        """The directories of deleted runs: see :mod:`orchestra.workspace.trash`."""
        return self.home / "trash"

    @property
    def restoring_mark(self) -> Path:
        """The file that is there, and locked, while runs are taken out of the trash."""
        return self.trash_dir / "restoring"

    @property
    def lib_dir(self) -> Path:
        """The copies of the supervisor that run above operations."""
        return self.home / "lib"

    def scratch(self, run: Run) -> Path:
        """Where resolvers work while they provide what ``run`` needs."""
        return self.control(self.run_directory(run)) / "resolving"

    def run_directory(self, run: Run) -> Path:
        """The directory of ``run``: its own choice, or the one below :attr:`runs_dir`."""
        return Path(run.directory) if run.directory is not None else self.directory_of(run.id)

    def directory_of(self, run_id: str) -> Path:
        """The directory that a run with this id has unless it chose another.

        Raises:
            UserError: such a text can't be the id of a run.
        """
        return self.runs_dir / check_run_id(run_id)

    @property
    def is_read_only(self) -> bool:
        """Whether the home is there and can be read, but not written."""
        return os.access(self.home, os.R_OK | os.X_OK) and not os.access(self.home, os.W_OK)

    def ensure_home(self, *, create_parents: bool = False) -> None:
        """Make the home (mode 0700) with its folders; what is there already is kept as it is.

        Its parent must exist, unless ``create_parents``.

        Raises:
            HomeError: the parent is missing, something else is there, or it can't be written.
        """
        home = os.fspath(self.home)
        if not os.path.isdir(home):
            _make_home(home, create_parents)
        if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
            raise HomeError(
                f"the orchestra home '{home}' is not writable",
                "Choose another one with -H DIR or ORCHESTRA_HOME, or change its permissions.",
            )
        for folder in ("runs", "wake", "cache", "trash", "lib"):
            _make_folder(os.path.join(home, folder))


class BorrowedLayout(Layout):
    """A home, made for the purpose, for runs that are in a folder elsewhere."""

    __slots__ = ("_runs",)

    def __init__(self, home: Path, runs: Path, *, is_passing: bool, shown: str) -> None:
        super().__init__(home)
        self.shown = shown
        self._runs = runs
        self.is_passing = is_passing

    @property
    def runs_dir(self) -> Path:
        """The folder that holds the runs."""
        return self._runs


def _make_home(home: str, create_parents: bool) -> None:
    parent = os.path.dirname(home)
    # In this order: somebody may be making it just now.
    if os.path.lexists(home) and not os.path.isdir(home):
        raise HomeError(
            f"the orchestra home '{home}' is not a directory",
            "Choose a directory with -H DIR or ORCHESTRA_HOME, or move that file away.",
        )
    if not create_parents and not os.path.isdir(parent):
        raise HomeError(
            f"the orchestra home '{home}' can't be made because '{parent}' is not a directory",
            "Make that directory first, or choose another home with -H DIR or ORCHESTRA_HOME.",
        )
    try:
        if create_parents:
            os.makedirs(parent, mode=0o700, exist_ok=True)
        os.mkdir(home, 0o700)
    except FileExistsError:
        if not os.path.isdir(home):
            raise HomeError(f"the orchestra home '{home}' is not a directory") from None
    except OSError as error:
        raise HomeError(
            f"the orchestra home '{home}' can't be made: {error.strerror or error}",
            "Choose another one with -H DIR or ORCHESTRA_HOME.",
        ) from error


def _make_folder(path: str) -> None:
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not os.path.isdir(path):
            raise HomeError(
                f"'{path}' in the orchestra home is not a directory", "Move it away, and try again."
            ) from None
    except OSError as error:
        raise HomeError(
            f"the orchestra home can't be used: {text_of_os_error(error)}",
            "Choose another one with -H DIR or ORCHESTRA_HOME.",
        ) from error
