"""What ``run`` shows instead of running anything."""

from __future__ import annotations

from orchestra.cli.preview import print_commands, print_environment, print_trials
from orchestra.cli.run_options import Look
from orchestra.engine.begin import operation_of
from orchestra.engine.request import RunRequest
from orchestra.engine.restart import Restart
from orchestra.engine.session import Session
from orchestra.engine.stage import Plan


async def look_at_operation(session: Session, request: RunRequest, look: Look) -> str | None:
    """What is asked of the operation, whatever its flags; None if nothing is.

    Raises:
        UserError: in one of its kinds, when there is no such operation or run.
    """
    if look.help_op or look.test_flags:
        from orchestra.cli.operation_help import describe_flags, help_operation

        described = help_operation if look.help_op else describe_flags
        return described(await operation_of(session, request)) + "\n"
    if look.help_model:
        from orchestra.cli.operation_help import help_model

        return help_model(await operation_of(session, request)) + "\n"
    if look.test_sourcecode:
        from orchestra.engine.snapshot import where_it_runs
        from orchestra.engine.source_listing import source_listing

        wanted = await operation_of(session, request)
        # A run that is there has its operation as it finds it.
        is_there = request.restart is not None or request.extend is not None
        return source_listing(session, wanted if is_there else where_it_runs(wanted))
    return None


async def look_at_plan(
    session: Session, request: RunRequest, prepared: Plan | Restart, look: Look
) -> str | None:
    """What is asked of the run, or batch, that is prepared; None if nothing is.

    Raises:
        UserError: trials were asked for, and it is no batch, or they can't be written.
    """
    if look.save_trials is not None:
        from orchestra.cli.save_trials import save_trials

        return await save_trials(session, prepared, request.cwd, look.save_trials)
    if look.print_cmd:
        return await print_commands(session, request, prepared) + "\n"
    if look.print_env:
        return print_environment(session, request, prepared) + "\n"
    if look.print_trials:
        return await print_trials(session, prepared) + "\n"
    return None
