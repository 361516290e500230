"""Runs are kept without secrets: their values lie in the home's vault, and reach the operation when it starts."""

from __future__ import annotations

import os
from collections.abc import Mapping

from msgspec import structs

from orchestra.engine.command_line import command_line
from orchestra.engine.session import Session
from orchestra.model import flags as flag_rules
from orchestra.model.batch import Batch
from orchestra.model.marks import may_hold_secrets
from orchestra.model.operation import FlagValue, Operation
from orchestra.model.run import Run


def concealed(session: Session, run: Run) -> Run:
    """``run`` as it may be written down and shown. The vault keeps what it hides once it is told to."""
    if not may_hold_secrets(run):
        return run
    from orchestra.model.concealing import conceal

    hidden = conceal(run, session.vault.hide)
    if hidden == run:
        return run
    if run.batch_spec is not None:
        return hidden
    return structs.replace(
        hidden,
        label=flag_rules.run_label(hidden.label_template, hidden.flags, hidden.tags, os.path.exists),
        command=command_line(hidden.operation, hidden.flags) if run.command else (),
    )


def concealed_flags(
    session: Session, operation: Operation, flags: Mapping[str, FlagValue], batch: Batch | None
) -> tuple[dict[str, FlagValue], Batch | None]:
    """Flags, and what a batch searches, as the records of runs that were given the same have them."""
    from orchestra.model.concealing import conceal_batch, conceal_flags

    hide = session.vault.hide
    return (
        conceal_flags(operation, flags, hide),
        None if batch is None else conceal_batch(operation, batch, hide),
    )
