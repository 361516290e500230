"""The environment that a run had, as its records tell it."""

from __future__ import annotations

from typing import Any

from orchestra.engine.session import Session
from orchestra.model.redaction import redact_variables
from orchestra.model.run import Run
from orchestra.workspace.environment import EnvironmentRecord, read_environment


def recorded_environment(session: Session, run: Run) -> dict[str, Any]:
    """The environment of the newest attempt, and what was asked for; no secrets.

    The variables are in ``environment``; of a run that was never started there is nothing else.

    Raises:
        RunBroken, StoreUnavailable: the record can't be read.
    """
    record = _newest(session, run)
    asked_for = redact_variables(run.environment, run.operation.env_secrets)
    variables = {**asked_for, **record.variables} if record else asked_for
    fields: dict[str, Any] = {"environment": dict(sorted(variables.items()))}
    if record is None:
        return fields
    fields["platform"] = {**record.platform, **_hardware(record)}
    if record.python is not None:
        python = record.python
        fields["python"] = {"executable": python.executable, "version": python.version}
        if python.packages is not None:
            fields["packages"] = {
                name: f"{version} ({python.origins[name]})" if name in python.origins else version
                for name, version in python.packages.items()
            }
    if record.lock_files:
        fields["lock_files"] = {file.path: file.sha256 for file in record.lock_files}
    fields["withheld"] = list(record.withheld)
    return fields


def _newest(session: Session, run: Run) -> EnvironmentRecord | None:
    directory = session.directory(run)
    for attempt in range(run.attempt, 0, -1):
        record = read_environment(session.layout.attempt_directory(directory, attempt))
        if record is not None:
            return record
    return None


def _hardware(record: EnvironmentRecord) -> dict[str, Any]:
    hardware = {"cpus": record.cpus, "usable_cpus": record.usable_cpus, "memory": record.memory}
    return {name: value for name, value in hardware.items() if value is not None}
