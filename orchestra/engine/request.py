"""What a caller asks for when a run is made or started: the command line's options as data."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from orchestra.model.batch import Redo
from orchestra.model.operation import FlagValue
from orchestra.model.resources import Resources
from orchestra.model.retry import Retry


class RunRequest(Struct, frozen=True, kw_only=True):
    """One call of ``run``. Flag values are typed: a list or an interval makes a batch."""

    operation: str | None = None
    flags: dict[str, FlagValue] = {}
    batch_files: tuple[str, ...] = ()
    """Files of trials, relative to ``cwd``."""
    cwd: Path
    """The project's directory."""
    restart: str | None = None
    """A run to start (again), by id prefix or directory."""
    redo: tuple[Redo, ...] = ()
    """With ``restart``: which of a batch's trials are run, under their ids, and no others."""
    extend: str | None = None
    """A batch that gets more values, by ``flags``, or more trials, by ``max_trials``."""
    proto: str | None = None
    """A run to make a new one of: of its operation, flags and source."""
    force_sourcecode: bool = False
    """With ``restart`` and ``proto``: the project's source and definition as they are now, not those of the run."""
    stage: bool = False
    stage_trials: bool = False
    needed: bool = False
    force_flags: bool = False
    run_dir: Path | None = None
    run_id: str | None = None
    label: str | None = None
    tags: tuple[str, ...] = ()
    comment: str | None = None
    batch_label: str | None = None
    """The label of the batch itself; ``label``, ``tags`` and ``comment`` are those of its trials."""
    batch_tags: tuple[str, ...] = ()
    batch_comment: str | None = None
    sources: tuple[str, ...] = ()
    """What resolvers must provide, as ``SCHEME:VALUE``; a bare path is a file."""
    force_deps: bool = False
    """A dependency that can't be met is but a warning."""
    environment: dict[str, str] = {}
    """Variables for the operation, beyond the caller's own environment."""
    expander: str | None = None
    """The expander plugin, with options (``sobol scramble=no``), or an optimizer that the operation names; None: by
    the flags' values."""
    optimize: bool = False
    """With the operation's default optimizer, where no ``expander`` is named."""
    expander_options: dict[str, FlagValue] = {}
    max_trials: int | None = None
    random_seed: int | None = None
    fail_on_trial_error: bool = False
    max_fails: int | None = None
    """Failed trials (of a queue: runs) after which no other is started."""
    stop_after: float | None = None
    """Minutes after which the operation is stopped, each trial of a batch for itself."""
    gpus: str | None = None
    """What the operation finds as ``CUDA_VISIBLE_DEVICES``; empty: no devices; None: whatever there is."""
    resources: Resources | None = None
    """What the operation needs; of a batch, each trial."""
    priority: int | None = None
    group: str | None = None
    after: tuple[str, ...] = ()
    """Runs that must have ended before a queue starts this one, as ``RUN``, ``RUN:ok`` or ``RUN:any``."""
    retry: Retry | None = None
    time_limit: float | None = None
    """Seconds after which an attempt is ended."""
    warning: str | None = None
    """A signal ahead of that: ``NAME@SECONDS``."""
    minimize: str | None = None
    """The column that a search is about, such as ``loss`` or ``min loss``."""
    maximize: str | None = None
    parent: str | None = None
    """The pipeline that the new run is a step of."""
    isolate_runs: bool = True
    """A step's dependencies are met by runs of its pipeline only."""
    executor: str | None = None
    """The executor plugin, with options; None: as set."""
