"""An operation: a named thing that can be run, with the flags it takes and all else that its project says of it."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from msgspec import Struct

from orchestra.model.terms import Terms

FlagValue: TypeAlias = Any
"""None, bool, int, float, str, or a list or dict of these. Typed values survive storage unchanged."""

FlagsDest: TypeAlias = str
"""How flags reach the process: ``args``, ``globals``, ``global:NAME`` (or ``dict:NAME``), ``namespace:NAME``,
``config:FILE``, or ``none``: only as ``FLAG_*`` variables."""

OperationKind: TypeAlias = Literal["script", "executable", "module", "steps", "batch", "queue"]
"""``module``: a Python module of the project, by name; ``steps``: a pipeline of other operations."""

OutputMode: TypeAlias = Literal["piped", "direct"]
"""``piped``: output passes through the supervisor, which tells the two streams apart; ``direct``: the operation writes
to the file itself, and loses nothing, whatever happens to the supervisor."""

FlagType: TypeAlias = Literal["string", "int", "float", "number", "boolean", "path", "existing-path"]


class Choice(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """A value that a flag may have."""

    value: FlagValue
    description: str = ""
    alias: str | None = None
    """Another word for the value, which takes its place."""
    flags: dict[str, FlagValue] = {}
    """Values for other flags that are not given themselves."""


def choices_of(*values: FlagValue) -> tuple[Choice, ...]:
    """Choices that are nothing but these values."""
    return tuple(Choice(value=value) for value in values)


class FlagDef(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """A flag that an operation takes."""

    name: str
    default: FlagValue = None
    type: FlagType | None = None
    description: str = ""
    required: bool = False
    choices: tuple[Choice, ...] = ()
    allow_other: bool = False
    """Values beyond ``choices`` are fine, too."""
    min: float | int | None = None
    max: float | int | None = None
    distribution: Literal["uniform", "log-uniform"] = "uniform"
    """How an optimizer samples between ``min`` and ``max``."""
    alias: str | None = None
    """Another name for the flag on the command line."""
    arg_name: str | None = None
    """The option's own spelling with its dashes (``--max-depth``) when it isn't ``--NAME``; ``""`` for a positional."""
    arg_skip: bool = False
    """Not passed to the process as an argument, a global or a configuration value."""
    arg_switch: FlagValue = None
    """Pass the bare option if the value equals this, nothing otherwise (``store_true``)."""
    arg_split: bool | str = False
    """The value is passed as several arguments (``nargs='+'``): split like a shell does, or at this separator."""
    arg_repeat: bool = False
    """The option is given anew for each of the values (``action='append'``), which are split as for ``arg_split``."""
    arg_encoding: dict[str, FlagValue] = {}
    """What to pass for a value, by the value as it is shown (``yes``)."""
    env_name: str | None = None
    """The variable that carries the value, instead of ``FLAG_NAME``."""
    env_encoding: dict[str, FlagValue] = {}
    null_label: str | None = None
    """What previews show for null."""
    origin: str = ""
    """Where the definition comes from (``train.py:12``, ``orchestra.yml:7``): for ``explain``."""

    @property
    def is_defined(self) -> bool:
        """Whether a project's file says something of it; else it is as its script has it."""
        file, _, line = self.origin.rpartition(":")
        return line.isdigit() and file.endswith((".yml", ".yaml"))

    @property
    def takes_several(self) -> bool:
        """Whether a value stands for several, which are split before they are passed."""
        return self.arg_repeat or bool(self.arg_split)


class SourceDef(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """One source of a dependency, for the resolver of its scheme."""

    scheme: str
    value: str
    name: str | None = None
    """How messages name it; None: ``SCHEME:VALUE``."""
    flag_name: str | bool | None = None
    """The flag that chooses another source; False: there is none; None: an operation's has its own name."""
    select: tuple[str, ...] = ()
    """Regular expressions of the paths that are taken, matched at their end; all of none."""
    select_min: str | None = None
    select_max: str | None = None
    """Of the paths that match, the one whose first group is the smallest or largest number."""
    rename: tuple[tuple[str, str], ...] = ()
    """Pattern and replacement, applied once to each base name."""
    target_path: str | None = None
    """The folder in the run's directory."""
    target_type: Literal["copy", "link"] | None = None
    preserve_path: bool = False
    unpack: bool | None = None
    """None: archives are unpacked."""
    archive_type: str | None = None
    """What kind of archive it is where the name doesn't say."""
    sha256: str | None = None
    replace_existing: bool = False
    always_resolve: bool = False
    """Resolved anew at each start of the run."""
    optional: bool = False
    warn_if_empty: bool = True
    fail_if_empty: bool = False
    params: dict[str, FlagValue] = {}
    """Of a configuration file: values that replace those in it."""
    post_process: str | None = None
    """A shell command that is run once where the source was unpacked."""
    help: str = ""
    """What a person should do when it can't be resolved."""


class Requirement(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """What an operation needs in its directory: a resource with one or more sources."""

    name: str
    sources: tuple[SourceDef, ...] = ()
    description: str = ""


class SourceRule(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """One rule of which files the source snapshot takes; of those that match a file, the last one decides."""

    include: bool
    patterns: tuple[str, ...]
    type: Literal["any", "dir", "text", "binary"] = "any"


class SourceCode(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """What the project says of the source snapshot."""

    disabled: bool = False
    rules: tuple[SourceRule, ...] = ()
    """Applied after the default rules."""
    root: str | None = None
    """The folder that is copied, relative to the project."""
    dest: str | None = None
    """The folder in the run's directory."""
    digest: bool = True


class OutputPattern(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    r"""A pattern for lines of output that tell a scalar or an attribute; may use ``\key``, ``\value``, ``\step``."""

    pattern: str
    key: str | None = None
    """The name, where the pattern itself does not tell it."""


class Check(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """What is expected of a step's run."""

    output: str | None = None
    """A pattern that its output must have."""
    file: str | None = None
    """A file that must be there (may be a glob pattern)."""
    contains: str | None = None
    compare_to: str | None = None


class Step(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """One step of a pipeline: a run of another operation."""

    run: str
    """The operation."""
    name: str
    flags: dict[str, FlagValue] = {}
    options: dict[str, FlagValue] = {}
    """Options of ``run``, by their long names (``label``, ``max-trials``)."""
    expect: tuple[Check, ...] = ()
    isolate_runs: bool = True
    """Dependencies are met by runs of this pipeline only."""


class Optimizer(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """A named way to search, with its options."""

    name: str
    algorithm: str
    flags: dict[str, FlagValue] = {}
    default: bool = False


class Operation(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """A named thing that can be run: kept whole in each run's record, so that a run needs no project."""

    name: str
    """As listings show it, e.g. ``say.py`` or ``model:train``."""
    kind: OperationKind
    source: str | None = None
    """The project's directory (absolute), of which the source snapshot is taken; None: no snapshot."""
    main: str = ""
    """The script or executable: relative to the run's directory when it is part of the snapshot, else absolute;
    the name of a module."""
    main_args: tuple[str, ...] = ()
    """Arguments before those of the flags; ``${flag}`` stands for a flag's value."""
    exec: tuple[str, ...] = ()
    """The whole command, where the project gives one; ``${flag_args}`` and ``${flag}`` stand for flags."""
    flags: tuple[FlagDef, ...] = ()
    flags_dest: FlagsDest = "none"
    accepts_any_flag: bool = False
    """True where flags can't be discovered (executables): any ``NAME=VALUE`` is passed on."""
    discovered_by: str = ""
    """How the flags were found: ``argparse``, ``click``, ``globals`` ... or ``""``."""
    description: str = ""

    project_file: str | None = None
    """The file that defines it (absolute); None: it was found by its path, or is built in."""
    model: str = ""
    """The model that it is of; ``""`` for the anonymous one."""
    env: dict[str, str] = {}
    """Variables that the project sets; ``${flag}`` stands for a flag's value."""
    env_secrets: tuple[str, ...] = ()
    """Names of variables whose values are never recorded."""
    python_path: tuple[str, ...] = ()
    python_requires: str | None = None
    """The versions of Python that it can do with: ``>=3.8,<4``."""
    pip_freeze: bool = True
    """The packages that are installed for it are recorded."""
    extra: dict[str, FlagValue] = {}
    """What the project says for other programs to read."""
    label: str | None = None
    tags: tuple[str, ...] = ()
    run_attrs: dict[str, FlagValue] = {}
    compare: tuple[str, ...] | None = None
    """The columns that ``compare`` shows."""
    objective: str | None = None
    """The scalar that a search minimises; with ``-`` before it, maximises."""
    optimizers: tuple[Optimizer, ...] = ()
    default_max_trials: int | None = None
    requires: tuple[Requirement, ...] = ()
    sourcecode: SourceCode | None = None
    output_scalars: tuple[OutputPattern, ...] | None = None
    """None: the default patterns; empty: none."""
    output_attrs: tuple[OutputPattern, ...] | None = None
    steps: tuple[Step, ...] = ()
    terms: Terms = Terms()
    """On which its runs are started, unless they were asked for on others."""
    delete_on_success: bool | None = None
    output: OutputMode | None = None
    """None: as settled for all."""
    grace: float | None = None
    """Seconds that processes which outlive the main one may go on; None: the supervisor's five."""
    stop_timeout: float | None = None
    """Seconds from TERM to KILL; None: the supervisor's ten."""

    def flag(self, name: str) -> FlagDef | None:
        """The definition of flag ``name``, or None."""
        return next((flag for flag in self.flags if flag.name == name), None)
