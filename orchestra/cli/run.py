"""The verbs ``run`` and ``queue``."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from orchestra.cli import run_checks
from orchestra.cli.command import RunCommand
from orchestra.cli.context import current
from orchestra.cli.options import whole
from orchestra.cli.run_options import (
    COMMON,
    EARLIER,
    LOOK,
    MEANS,
    TERMS,
    TRIALS,
    Common,
    Earlier,
    Look,
    Means,
    Terms,
    Trials,
)
from orchestra.engine.request import RunRequest
from orchestra.model.batch import Redo
from orchestra.model.flags import decode
from orchestra.project.arguments import is_batch_file, parse_assignments


def run(
    operation: Annotated[str | None, Parameter(help="A script, an executable, or 'queue'.")] = None,
    /,
    *assignments: Annotated[str, Parameter(help="A flag's value; a list makes a batch.", show=False)],
    common: Common = COMMON,
    earlier: Earlier = EARLIER,
    trials: Trials = TRIALS,
    means: Means = MEANS,
    terms: Terms = TERMS,
    look: Look = LOOK,
) -> int:
    """Run an operation: a script, an executable, a batch of trials, or a queue.

    A queue that is told to end (TERM, or Ctrl-C twice) leaves its runs running; the next queue watches them.
    """
    context = current()
    if operation is not None and ("=" in operation or operation.startswith("@")):
        operation, assignments = None, (operation, *assignments)
    _check(common, trials, means, look)
    request = _request(operation, assignments, context.cwd, common, earlier, trials, means)
    if terms is not TERMS:
        from orchestra.cli.run_terms import with_terms

        request = with_terms(request, terms)
    if look.test_output_scalars is not None or look.test_output_attrs is not None:
        from orchestra.cli.output_test import test_output

        return test_output(request, scalars=look.test_output_scalars, attributes=look.test_output_attrs)
    return RunCommand(
        context,
        request,
        common=common,
        look=look,
        edit_batch_comment=trials.edit_batch_comment,
        stop_runs=means.stop_runs,
        keep=means.keep_run or trials.keep_batch,
        prefix=means.prefix,
    ).run()


def _check(common: Common, trials: Trials, means: Means, look: Look) -> None:
    run_checks.check_not_both(
        ("--gpus", means.gpus is not None, "--no-gpus", means.no_gpus),
        ("--stage", common.stage, "--background", common.background),
        ("--stage", common.stage, "--pidfile", common.pidfile is not None),
        ("--optimize", trials.optimize, "--optimizer", trials.optimizer is not None),
        ("--minimize", trials.minimize is not None, "--maximize", trials.maximize is not None),
        ("--print-cmd", look.print_cmd, "--print-env", look.print_env),
        ("--print-cmd", look.print_cmd, "--print-trials", look.print_trials),
        ("--print-trials", look.print_trials, "--stage-trials", trials.stage_trials),
    )
    if look.save_trials is not None:
        from orchestra.project.batch_files import check_target

        check_target(look.save_trials)


def _request(
    operation: str | None,
    assignments: tuple[str, ...],
    cwd: Path,
    common: Common,
    earlier: Earlier,
    trials: Trials,
    means: Means,
) -> RunRequest:
    """The options as data."""
    options = parse_assignments(trials.opt_flag)
    return RunRequest(
        operation=operation,
        flags=dict(parse_assignments(word for word in assignments if not is_batch_file(word))),
        batch_files=tuple(word[1:] for word in assignments if is_batch_file(word)),
        cwd=cwd,
        restart=earlier.start,
        redo=_redo(earlier),
        extend=earlier.extend,
        proto=earlier.proto,
        force_sourcecode=earlier.force_sourcecode,
        stage=common.stage,
        stage_trials=trials.stage_trials,
        needed=common.needed,
        force_flags=common.force_flags,
        run_dir=means.run_dir,
        run_id=means.run_id,
        label=common.label,
        tags=common.tag,
        comment=common.comment,
        batch_label=trials.batch_label,
        batch_tags=trials.batch_tag,
        batch_comment=trials.batch_comment or ("" if trials.edit_batch_comment else None),
        sources=means.dep,
        force_deps=means.force_deps,
        expander=trials.optimizer,
        optimize=trials.optimize,
        expander_options={name: decode(text, name) for name, text in options.items()},
        max_trials=trials.max_trials,
        random_seed=trials.random_seed,
        fail_on_trial_error=trials.fail_on_trial_error,
        max_fails=trials.max_fails,
        stop_after=means.stop_after,
        gpus="" if means.no_gpus else means.gpus,
        minimize=trials.minimize,
        maximize=trials.maximize,
        executor=means.executor,
    )


def _redo(earlier: Earlier) -> tuple[Redo, ...]:
    wanted: dict[Redo, bool] = {"failed": earlier.failed, "missing": earlier.missing, "lost": earlier.lost}
    return tuple(name for name, is_wanted in wanted.items() if is_wanted)


def queue(
    *assignments: Annotated[str, Parameter(show=False)],
    jobs: Annotated[
        str | None, Parameter(alias="-j", help="Runs at once; auto: as the processors allow.")
    ] = None,
    max_fails: Annotated[
        int | None, Parameter(converter=whole, help="Start no more once so many have failed.")
    ] = None,
    executor: Annotated[str | None, Parameter(help="Give all runs to it: 'NAME KEY=VALUE'.")] = None,
    stop_runs: Annotated[bool, Parameter(help="Told to end, stop the running runs, too.")] = False,
    prefix: Annotated[bool, Parameter(help="Show the run before each line that it prints.")] = False,
    background: Annotated[bool, Parameter(alias="-b", help="Return at once.")] = False,
) -> int:
    """Work through the staged runs: those of the highest priority first, then the oldest.

    What is told to all queues, instead of starting one: status, pause, resume, parallel, priority, move, wait,
    follow, stop (see 'orchestra queue status --help', and so on).

    Flags: run-once=yes (end when nothing is left to start), ignore-running=yes (start though runs that no queue
    started are running: it waits for their end otherwise), poll-interval=N (look again at least every N seconds),
    gpus=IDS (CUDA_VISIBLE_DEVICES of the runs), executor=NAME, jobs=N and max-fails=N (as the options).
    'orchestra run queue --help-op' lists them.

    Told to end (TERM, or Ctrl-C twice) a queue leaves its runs running; the next queue watches them on.
    """
    extra = () if jobs is None else (f"jobs={jobs}",)
    common = Common(yes=True, background=background)
    trials = TRIALS if max_fails is None else Trials(max_fails=max_fails)
    return run(
        "queue",
        *assignments,
        *extra,
        common=common,
        trials=trials,
        means=Means(stop_runs=stop_runs, prefix=prefix, executor=executor),
    )
