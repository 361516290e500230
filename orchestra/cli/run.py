"""The verbs ``run`` and ``queue``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from orchestra.cli import run_checks
from orchestra.cli.command import RunCommand, Show
from orchestra.cli.context import current
from orchestra.engine.request import RunRequest
from orchestra.errors import UsageError
from orchestra.model.flags import decode
from orchestra.project.arguments import is_batch_file, parse_assignments


def run(
    operation: Annotated[str | None, Parameter(help="A script, an executable, or 'queue'.")] = None,
    /,
    *assignments: Annotated[str, Parameter(help="A flag's value; a list makes a batch.", show=False)],
    yes: Annotated[bool, Parameter(alias="-y", help="Do not prompt.")] = False,
    label: Annotated[str | None, Parameter(alias="-l", help="Label of the run; may use ${flag}.")] = None,
    tag: Annotated[tuple[str, ...], Parameter(alias="-t", help="Tag of the run (repeatable).")] = (),
    run_dir: Annotated[Path | None, Parameter(alias="-d", help="Directory of the run.")] = None,
    run_id: Annotated[str | None, Parameter(help="Id of the run.")] = None,
    stage: Annotated[bool, Parameter(help="Make the run ready without starting it.")] = False,
    stage_trials: Annotated[bool, Parameter(help="Stage the trials of a batch.")] = False,
    start: Annotated[
        str | None,
        Parameter(alias="--restart", help="Start a run that is there, for the first time or again."),
    ] = None,
    proto: Annotated[
        str | None, Parameter(help="A new run of the operation, flags and source of RUN.")
    ] = None,
    force_sourcecode: Annotated[
        bool, Parameter(help="With --restart and --proto: the project's source as it is now.")
    ] = False,
    needed: Annotated[bool, Parameter(help="Run only if no run has these flags yet.")] = False,
    force_flags: Annotated[bool, Parameter(alias="-f", help="Accept any flag and any value.")] = False,
    dep: Annotated[
        tuple[str, ...], Parameter(alias="-D", help="A file, or SCHEME:VALUE, that the run needs.")
    ] = (),
    force_deps: Annotated[bool, Parameter(help="Go on without what the run needs and can't have.")] = False,
    optimizer: Annotated[
        str | None, Parameter(alias="-o", help="Expander of the batch, e.g. random.")
    ] = None,
    opt_flag: Annotated[tuple[str, ...], Parameter(help="NAME=VALUE for the expander (repeatable).")] = (),
    max_trials: Annotated[
        int | None, Parameter(alias=["-m", "--trials"], help="At most so many trials.")
    ] = None,
    random_seed: Annotated[int | None, Parameter(help="Makes sampling repeatable.")] = None,
    batch_label: Annotated[str | None, Parameter(alias="-bl", help="Label of the batch itself.")] = None,
    unknown_of_batch: Annotated[
        # Options of Guild's, which would else be read as -b -t and -b -c.
        tuple[str, ...],
        Parameter(name=["-bt", "-bc", "--batch-tag", "--batch-comment"], show=False),
    ] = (),
    minimize: Annotated[str | None, Parameter(alias="-N", help="What a search is about: 'loss'.")] = None,
    maximize: Annotated[str | None, Parameter(alias="-X", help="The same, for the greatest.")] = None,
    fail_on_trial_error: Annotated[bool, Parameter(help="Stop the batch when a trial fails.")] = False,
    stop_after: Annotated[float | None, Parameter(help="Stop the operation after so many minutes.")] = None,
    gpus: Annotated[str | None, Parameter(help="CUDA_VISIBLE_DEVICES of the operation.")] = None,
    no_gpus: Annotated[bool, Parameter(help="No device is visible to the operation.")] = False,
    executor: Annotated[
        str | None, Parameter(help="Executor plugin, with options: 'NAME KEY=VALUE'.")
    ] = None,
    background: Annotated[bool, Parameter(alias="-b", help="Return at once.")] = False,
    pidfile: Annotated[Path | None, Parameter(help="Where a background run's pid is written.")] = None,
    quiet: Annotated[bool, Parameter(alias="-q", help="Do not show the operation's output.")] = False,
    print_cmd: Annotated[bool, Parameter(help="Print the command and exit.")] = False,
    print_env: Annotated[
        bool, Parameter(help="Print the variables that the operation gets and exit.")
    ] = False,
    edit_flags: Annotated[bool, Parameter(alias="-e", help="Edit the flags before they are used.")] = False,
    print_trials: Annotated[bool, Parameter(help="Print the trials of a batch and exit.")] = False,
    save_trials: Annotated[
        str | None, Parameter(help="Save the trials of a batch (.csv or .json) and exit.")
    ] = None,
    test_output_scalars: Annotated[
        str | None,
        Parameter(help="Show which scalars the lines of a file (-: input) tell.", allow_leading_hyphen=True),
    ] = None,
    test_output_attrs: Annotated[
        str | None,
        Parameter(help="Show which attributes they tell.", allow_leading_hyphen=True),
    ] = None,
    test_sourcecode: Annotated[bool, Parameter(help="Show which source would be copied and exit.")] = False,
    test_flags: Annotated[bool, Parameter(help="Show all that is known of its flags and exit.")] = False,
    help_op: Annotated[bool, Parameter(alias="-h", help="Show the operation's flags and exit.")] = False,
    stop_runs: Annotated[bool, Parameter(help="A queue that is told to end stops its runs, too.")] = False,
    keep_run: Annotated[bool, Parameter(help="Keep the run even if interim runs are deleted.")] = False,
    keep_batch: Annotated[bool, Parameter(help="Keep the batch even if interim runs are deleted.")] = False,
) -> int:
    """Run an operation: a script, an executable, a batch of trials, or a queue.

    A queue that is told to end (TERM, or Ctrl-C twice) leaves its runs running; the next queue watches them.
    """
    context = current()
    if operation is not None and ("=" in operation or operation.startswith("@")):
        operation, assignments = None, (operation, *assignments)
    if unknown_of_batch:
        raise UsageError("a batch has a label (-bl), but no tags and comments: there is no -bt and no -bc")
    run_checks.check_not_both(
        ("--gpus", gpus is not None, "--no-gpus", no_gpus),
        ("--stage", stage, "--background", background),
        ("--stage", stage, "--pidfile", pidfile is not None),
        ("--print-cmd", print_cmd, "--print-env", print_env),
        ("--print-trials", print_trials, "--stage-trials", stage_trials),
    )
    request = RunRequest(
        operation=operation,
        flags=dict(parse_assignments(word for word in assignments if not is_batch_file(word))),
        batch_files=tuple(word[1:] for word in assignments if is_batch_file(word)),
        cwd=context.cwd,
        restart=start,
        proto=proto,
        force_sourcecode=force_sourcecode,
        stage=stage,
        stage_trials=stage_trials,
        needed=needed,
        force_flags=force_flags,
        run_dir=run_dir,
        run_id=run_id,
        label=label,
        batch_label=batch_label,
        tags=tag,
        sources=dep,
        force_deps=force_deps,
        expander=optimizer,
        expander_options={name: decode(text, name) for name, text in parse_assignments(opt_flag).items()},
        max_trials=max_trials,
        random_seed=random_seed,
        fail_on_trial_error=fail_on_trial_error,
        stop_after=stop_after,
        gpus="" if no_gpus else gpus,
        minimize=minimize,
        maximize=maximize,
        executor=executor,
    )
    if test_output_scalars is not None or test_output_attrs is not None:
        from orchestra.cli.output_test import test_output

        return test_output(request, scalars=test_output_scalars, attributes=test_output_attrs)
    shown: dict[Show, bool] = {
        "cmd": print_cmd,
        "env": print_env,
        "trials": print_trials,
        "help": help_op,
        "flags": test_flags,
        "source": test_sourcecode,
    }
    if save_trials is not None:
        from orchestra.project.batch_files import check_target

        check_target(save_trials)
    return RunCommand(
        context,
        request,
        save_trials=save_trials,
        edit_flags=edit_flags,
        yes=yes,
        quiet=quiet,
        background=background,
        pidfile=pidfile,
        stop_runs=stop_runs,
        keep=keep_run or keep_batch,
        show=next((what for what, is_wanted in shown.items() if is_wanted), None),
    ).run()


def queue(
    *assignments: Annotated[str, Parameter(show=False)],
    jobs: Annotated[int | None, Parameter(alias="-j", help="Runs at once.")] = None,
    stop_runs: Annotated[bool, Parameter(help="Told to end, stop the running runs, too.")] = False,
    background: Annotated[bool, Parameter(alias="-b", help="Return at once.")] = False,
) -> int:
    """Work through the staged runs, oldest first.

    Flags: run-once=yes (end when nothing is left to start), poll-interval=N (look again at least every N seconds),
    ignore-running=yes (start though runs that no queue started are running), gpus=IDS (CUDA_VISIBLE_DEVICES of the
    runs).

    Told to end (TERM, or Ctrl-C twice) a queue leaves its runs running; the next queue watches them on.
    """
    extra = () if jobs is None else (f"jobs={jobs}",)
    return run("queue", *assignments, *extra, yes=True, stop_runs=stop_runs, background=background)
