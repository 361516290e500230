"""What may stand in a project's file: the types that the loader checks against and the JSON Schema is made of."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=86_400)]
Texts: TypeAlias = str | list[str]
Scalar: TypeAlias = str | int | float | bool | None

TERMS: Final = ("executor", "resources", "priority", "group", "time-limit", "warn", "retry")
"""The keys of an operation that say on which terms its runs are started. The predecessor has none of them."""


class Section(Struct, rename="kebab", forbid_unknown_fields=True, omit_defaults=True):
    """A mapping of the file. Keys are spelled with dashes."""


class ChoiceSection(Section):
    """A value that a flag may have."""

    value: Any
    description: str = ""
    alias: Scalar = None
    flags: dict[str, Any] = {}


class FlagSection(Section):
    """A flag. What is not said here is taken from the script, if the flag is imported."""

    default: Any = UNSET
    description: str | UnsetType = UNSET
    type: (
        Literal["auto", "string", "int", "float", "number", "boolean", "path", "existing-path"] | UnsetType
    ) = UNSET
    required: bool | UnsetType = UNSET
    choices: list[ChoiceSection | Scalar] | UnsetType = UNSET
    allow_other: bool | UnsetType = UNSET
    min: int | float | UnsetType = UNSET
    max: int | float | UnsetType = UNSET
    distribution: Literal["uniform", "log-uniform", "loguniform"] | UnsetType = UNSET
    alias: str | UnsetType = UNSET
    arg_name: str | UnsetType = UNSET
    arg_skip: bool | UnsetType = UNSET
    arg_switch: Any = UNSET
    arg_split: bool | str | UnsetType = UNSET
    arg_repeat: bool | UnsetType = UNSET
    arg_encoding: dict[str, Scalar] | UnsetType = UNSET
    env_name: str | UnsetType = UNSET
    env_encoding: dict[str, Scalar] | UnsetType = UNSET
    null_label: Scalar | UnsetType = UNSET


class RenameSection(Section):
    """How base names change: what ``pattern`` matches becomes ``repl``."""

    pattern: str
    repl: str


class SourceSection(Section):
    """One source of a dependency. One of the first seven keys says what it is."""

    file: str | None = None
    url: str | None = None
    module: str | None = None
    operation: str | None = None
    config: str | None = None
    dvcfile: str | None = None
    dvcstage: str | None = None
    name: str | None = None
    flag_name: str | bool | None = None
    select: Texts = []
    select_min: str | None = None
    select_max: str | None = None
    rename: str | RenameSection | list[str | RenameSection] = []
    target_path: str | None = None
    path: str | None = None
    target_type: Literal["copy", "link"] | None = None
    preserve_path: bool = False
    unpack: bool | None = None
    type: str | None = None
    sha256: str | None = None
    replace_existing: bool = False
    always_resolve: bool = False
    optional: bool = False
    warn_if_empty: bool = True
    fail_if_empty: bool = False
    params: dict[str, Any] = {}
    post_process: str | None = None
    help: str = ""


class ResourceSection(Section):
    """What an operation may need: one or more sources."""

    sources: list[str | SourceSection]
    name: str | None = None
    description: str = ""
    target_path: str | None = None
    path: str | None = None
    target_type: Literal["copy", "link"] | None = None
    default_unpack: bool | None = None
    preserve_path: bool = False
    private: bool = False
    references: Texts = []


class RequirementSection(Section):
    """A resource that an operation needs, by its name."""

    resource: str
    description: str = ""


class PatternSection(Section):
    """Files, by the kind that they have to be of."""

    dir: Texts | None = None
    text: Texts | None = None
    binary: Texts | None = None


class RuleSection(Section):
    """A rule of the source snapshot: what is taken, or what is not."""

    include: Texts | PatternSection | None = None
    exclude: Texts | PatternSection | None = None


class SourceCodeSection(Section):
    """The source snapshot."""

    select: bool | str | list[str | RuleSection] = []
    root: str | None = None
    dest: str | None = None
    digest: bool = True


class CheckSection(Section):
    """What is expected of a step's run."""

    output: str | None = None
    file: str | None = None
    contains: str | None = None
    compare_to: str | None = None


class NeedsSection(Section):
    """What a run needs of the computer: devices, processors, memory (bytes, or a text such as ``8G``)."""

    gpus: int | float | UnsetType = UNSET
    cpus: int | float | UnsetType = UNSET
    memory: int | str | UnsetType = UNSET


class GrowthSection(Section):
    """How many times as much of a resource each further try asks for."""

    gpus: int | float | UnsetType = UNSET
    cpus: int | float | UnsetType = UNSET
    memory: int | float | UnsetType = UNSET


class RetrySection(Section):
    """How often a run that failed is tried again, for which causes, after how long, with how much more."""

    max: int
    on: Texts | UnsetType = UNSET
    delay: str | UnsetType = UNSET
    scale: str | GrowthSection | UnsetType = UNSET


class StepSection(Section):
    """One step of a pipeline: a run of another operation. What follows ``expect`` are options of ``run``."""

    run: str
    name: str | None = None
    flags: dict[str, Any] | list[str] = {}
    expect: CheckSection | list[CheckSection] = []
    isolate_runs: bool = True
    batch_label: str | None = None
    batch_tag: Texts | None = None
    batch_tags: Texts | None = None
    dep: Texts | None = None
    executor: str | None = None
    fail_on_trial_error: bool | None = None
    force_flags: bool | None = None
    force_sourcecode: bool | None = None
    gpus: Scalar = None
    group: str | None = None
    label: str | None = None
    max_trials: int | None = None
    maximize: str | None = None
    minimize: str | None = None
    needed: bool | None = None
    no_gpus: bool | None = None
    opt_flag: Texts | None = None
    optimize: bool | None = None
    optimizer: str | None = None
    priority: int | str | None = None
    random_seed: int | None = None
    remote: str | None = None
    resources: str | NeedsSection | None = None
    retries: int | str | None = None
    retry_delay: str | None = None
    retry_on: Texts | None = None
    retry_scale: str | GrowthSection | None = None
    stage_trials: bool | None = None
    stop_after: int | float | None = None
    tag: Texts | None = None
    tags: Texts | None = None
    time_limit: str | None = None
    trials: int | None = None
    warn: str | None = None


class ObjectiveSection(Section):
    """What a search is after, if not a scalar's lowest value."""

    minimize: str | None = None
    maximize: str | None = None


class OperationSection(Section):
    """An operation."""

    description: str = ""
    default: bool = False
    main: str | None = None
    exec: str | None = None
    steps: list[str | StepSection] | None = None
    flags: dict[str, FlagSection | Scalar | list[Any]] = {}
    flags_dest: str | None = None
    flags_import: bool | Literal["all"] | list[str] | None = None
    flags_import_skip: Texts = []
    default_flag_arg_skip: bool = False
    requires: str | dict[str, Any] | list[str | dict[str, Any]] = []
    """Each mapping is a :class:`RequirementSection`, :class:`ResourceSection` or :class:`SourceSection`."""
    env: dict[str, Scalar] = {}
    env_secrets: Texts = []
    label: str | None = None
    tags: Texts = []
    run_attrs: dict[str, Any] = {}
    compare: list[str] | None = None
    objective: str | ObjectiveSection | None = None
    optimizer: str | dict[str, Any] | None = None
    optimizers: dict[str, dict[str, Any] | str | None] | None = None
    default_max_trials: Annotated[int, Meta(ge=1)] | None = None
    output_scalars: bool | str | dict[str, str] | list[str | dict[str, str]] | None = None
    output_attrs: bool | str | dict[str, str] | list[str | dict[str, str]] | None = None
    sourcecode: bool | str | list[str | RuleSection] | SourceCodeSection | None = None
    delete_on_success: bool | None = None
    output: Literal["piped", "direct"] | None = None
    grace: Seconds | None = None
    stop_timeout: Seconds | None = None
    python_path: Texts = []
    python_requires: str | None = None
    pip_freeze: bool = True
    executor: str | dict[str, dict[str, Any]] | None = None
    """``slurm partition=gpu``, or ``{slurm: {partition: gpu}}``."""
    resources: str | NeedsSection | None = None
    """What a run of it needs; a model's are something else: what operations may require."""
    priority: int | None = None
    group: str | None = None
    time_limit: str | None = None
    warn: str | None = None
    retry: int | RetrySection | None = None


class ModelSection(Section):
    """A model: operations that belong together. Without a name, or as a ``config``, what others take from."""

    model: str | None = None
    config: str | None = None
    include: Texts | None = None
    settings: dict[str, Any] | None = None
    """Not of a model: of all that is run, in an item of its own or beside ``operations``."""
    default: bool = False
    description: str = ""
    python_requires: str | None = None
    extra: dict[str, Any] = {}
    references: Texts = []
    extends: Texts = []
    params: dict[str, Any] = {}
    flags: dict[str, Any] = {}
    operations: dict[str, str | OperationSection | list[str]] = {}
    operation_defaults: dict[str, Any] = {}
    resources: dict[str, Any] = {}
    sourcecode: bool | str | list[str | RuleSection] | SourceCodeSection | None = None


ProjectFile: TypeAlias = dict[str, str | OperationSection] | list[ModelSection]
"""The whole file: operations by their names, or a list of models, configurations and includes."""
