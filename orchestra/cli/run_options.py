"""The options of ``run``, in the groups in which ``run --help`` shows them, the everyday ones first.

Annotations are no texts here (no ``annotations`` of the future): each would be compiled anew at every start.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Group, Parameter

from orchestra.cli.options import whole


def _group(title: str, place: int) -> Parameter:
    """Of a class: its fields are options, shown under ``title``."""
    return Parameter(name="*", group=Group(title, sort_key=place))


@_group("Options", 1)
@dataclass(eq=False, repr=False, kw_only=True)
class Common:
    """What most calls have."""

    yes: Annotated[bool, Parameter(alias="-y", help="Do not ask.")] = False
    label: Annotated[str | None, Parameter(alias="-l", help="Label of the run; may use ${flag}.")] = None
    tag: Annotated[tuple[str, ...], Parameter(alias="-t", help="Tag of the run (repeatable).")] = ()
    comment: Annotated[str | None, Parameter(alias="-c", help="Comment on the run.")] = None
    edit_comment: Annotated[bool, Parameter(alias="-ec", help="Write the comment in an editor.")] = False
    edit_flags: Annotated[bool, Parameter(alias="-e", help="Edit the flags in an editor first.")] = False
    force_flags: Annotated[bool, Parameter(alias="-f", help="Accept any flag and any value.")] = False
    needed: Annotated[bool, Parameter(help="Only if no run has these flags yet.")] = False
    stage: Annotated[bool, Parameter(help="Make the run ready without starting it.")] = False
    background: Annotated[bool, Parameter(alias="-b", help="Return once it is started.")] = False
    pidfile: Annotated[Path | None, Parameter(help="Where the pid is written in the background.")] = None
    quiet: Annotated[
        bool,
        Parameter(
            alias="-q",
            help="Show no output, nor which trials are made and how to start them.",
        ),
    ] = False


@_group("Runs that are there", 2)
@dataclass(eq=False, repr=False, kw_only=True)
class Earlier:
    """What makes use of an earlier run."""

    start: Annotated[str | None, Parameter(alias="--restart", help="Start that run (again).")] = None
    failed: Annotated[bool, Parameter(help="Of that batch: only its failed trials.")] = False
    missing: Annotated[bool, Parameter(help="Of it: only trials never run.")] = False
    lost: Annotated[bool, Parameter(help="Of it: only lost ones.")] = False
    extend: Annotated[str | None, Parameter(help="Batch to get more values or --max-trials.")] = None
    proto: Annotated[str | None, Parameter(help="A new run with its operation, flags and source.")] = None
    force_sourcecode: Annotated[bool, Parameter(help="But with the project's source of today.")] = False


@_group("Batches", 3)
@dataclass(eq=False, repr=False, kw_only=True)
class Trials:
    """What makes a batch, and how it goes about its trials."""

    max_trials: Annotated[
        int | None, Parameter(converter=whole, alias=["-m", "--trials"], help="At most so many trials.")
    ] = None
    optimizer: Annotated[str | None, Parameter(alias="-o", help="How to search, e.g. random.")] = None
    optimize: Annotated[bool, Parameter(alias="-O", help="With the operation's default optimizer.")] = False
    opt_flag: Annotated[tuple[str, ...], Parameter(alias="-Fo", help="NAME=VALUE for the optimizer.")] = ()
    minimize: Annotated[str | None, Parameter(alias="-N", help="The scalar to be small, e.g. loss.")] = None
    maximize: Annotated[str | None, Parameter(alias="-X", help="The scalar to be great.")] = None
    random_seed: Annotated[int | None, Parameter(converter=whole, help="Makes sampling repeatable.")] = None
    stage_trials: Annotated[bool, Parameter(help="Stage the trials, or the one run; for queues.")] = False
    fail_on_trial_error: Annotated[bool, Parameter(help="Stop the batch when a trial fails.")] = False
    max_fails: Annotated[
        int | None, Parameter(converter=whole, help="Stop (a queue, too) when so many failed.")
    ] = None
    batch_label: Annotated[str | None, Parameter(alias="-bl", help="Label of the batch itself.")] = None
    batch_tag: Annotated[tuple[str, ...], Parameter(alias="-bt", help="Tag of it (repeatable).")] = ()
    batch_comment: Annotated[str | None, Parameter(alias="-bc", help="Comment on it.")] = None
    edit_batch_comment: Annotated[bool, Parameter(alias="-ebc", help="Write that in an editor.")] = False
    keep_batch: Annotated[bool, Parameter(help="Keep it where interim runs are deleted.")] = False


@_group("What it runs with", 4)
@dataclass(eq=False, repr=False, kw_only=True)
class Means:
    """What the operation is given, where, and for how long."""

    dep: Annotated[tuple[str, ...], Parameter(alias="-D", help="A file, or SCHEME:VALUE, it needs.")] = ()
    force_deps: Annotated[bool, Parameter(help="Go on without what can't be had.")] = False
    gpus: Annotated[str | None, Parameter(help="Its CUDA_VISIBLE_DEVICES.")] = None
    no_gpus: Annotated[bool, Parameter(help="No device is visible to it.")] = False
    stop_after: Annotated[float | None, Parameter(help="Stop it after so many minutes.")] = None
    executor: Annotated[str | None, Parameter(help="Executor plugin: 'NAME KEY=VALUE'.")] = None
    run_dir: Annotated[Path | None, Parameter(alias="-d", help="Directory of the run.")] = None
    run_id: Annotated[str | None, Parameter(help="Id of the run.")] = None
    keep_run: Annotated[bool, Parameter(help="Keep it though it is to be deleted on success.")] = False
    stop_runs: Annotated[bool, Parameter(help="A queue told to end stops its runs, too.")] = False
    prefix: Annotated[bool, Parameter(help="A queue shows the run before each line of its runs.")] = False


def _span(help: str) -> Parameter:
    """A span of time: one below zero is refused as such, not taken for an option."""
    return Parameter(help=help, allow_leading_hyphen=True)


@_group("When, and how often", 5)
@dataclass(eq=False, repr=False, kw_only=True)
class Terms:
    """What it needs, when its turn comes, and what is done about its failures."""

    resources: Annotated[str | None, Parameter(help="Its needs: 'gpus=1 cpus=4 memory=8G'.")] = None
    priority: Annotated[
        int | None, Parameter(converter=whole, help="Queues take higher ones first; 0 by default.")
    ] = None
    after: Annotated[tuple[str, ...], Parameter(help="RUN[:ok|any] that must end first (repeatable).")] = ()
    group: Annotated[str | None, Parameter(help="Name that a limit of runs at once is set for.")] = None
    time_limit: Annotated[str | None, _span("End each attempt after so long, e.g. 2h.")] = None
    warn: Annotated[str | None, Parameter(help="SIGNAL@SECONDS before that, e.g. USR1@60.")] = None
    retries: Annotated[
        int | None, Parameter(converter=whole, help="Try again so many times when it fails.")
    ] = None
    retry_on: Annotated[str | None, Parameter(help="Causes: oom,lost,timeout,exit:75,any.")] = None
    retry_delay: Annotated[str | None, _span("Wait so long first, then twice as long.")] = None
    retry_scale: Annotated[str | None, Parameter(help="With so many times as much: memory=2.")] = None


@_group("Look, and run nothing", 6)
@dataclass(eq=False, repr=False, kw_only=True)
class Look:
    """What is shown instead of running anything."""

    help_op: Annotated[bool, Parameter(alias="-h", help="The operation's flags.")] = False
    help_model: Annotated[bool, Parameter(help="The operations of its model.")] = False
    print_cmd: Annotated[bool, Parameter(help="The command.")] = False
    print_env: Annotated[bool, Parameter(help="The variables that the operation gets.")] = False
    print_trials: Annotated[bool, Parameter(help="The trials of a batch.")] = False
    save_trials: Annotated[str | None, Parameter(help="Write them to a file (.csv or .json).")] = None
    test_flags: Annotated[bool, Parameter(help="All that is known of the flags.")] = False
    test_sourcecode: Annotated[bool, Parameter(help="Which source would be copied.")] = False
    test_output_scalars: Annotated[
        str | None, Parameter(help="Scalars in a file's lines (-: input).", allow_leading_hyphen=True)
    ] = None
    test_output_attrs: Annotated[
        str | None, Parameter(help="Attributes in them.", allow_leading_hyphen=True)
    ] = None


COMMON: Final = Common()
EARLIER: Final = Earlier()
TRIALS: Final = Trials()
MEANS: Final = Means()
TERMS: Final = Terms()
LOOK: Final = Look()
"""Each class with nothing given."""
