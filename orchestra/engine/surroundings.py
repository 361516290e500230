"""What there is around the operations that a session starts, looked at as seldom as possible."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping

from orchestra.model.redaction import allowed_environment
from orchestra.model.run import Run
from orchestra.workspace.environment import (
    EnvironmentRecord,
    Interpreter,
    LockFiles,
    PythonRecord,
    describe_computer,
    describe_variables,
    memory,
    usable_cpus,
)

_PYTHON = re.compile(r"python[0-9.]*")


class Surroundings:
    """Describes the environments of attempts. Used by several threads: what one does twice does no harm."""

    def __init__(self) -> None:
        self._interpreters: dict[str, Interpreter] = {}
        self._described: dict[str, tuple[object, PythonRecord]] = {}
        self._inherited = dict(os.environ)
        self._allowed = allowed_environment(self._inherited)
        self._lock_files = LockFiles()
        self._computer = describe_computer()
        self._cpus = os.cpu_count()
        self._memory = memory()

    def describe(self, run: Run, added: Mapping[str, str], now: int) -> EnvironmentRecord:
        """The record of an attempt whose operation is given the variables ``added`` beyond our own."""
        variables, withheld = describe_variables(
            self._inherited, added, run.operation.env_secrets, allowed=self._allowed
        )
        return EnvironmentRecord(
            captured=now,
            platform=self._computer,
            cpus=self._cpus,
            usable_cpus=usable_cpus(),
            memory=self._memory,
            python=self._python(run),
            lock_files=self._lock_files.of(run.operation.source) if run.operation.source else (),
            variables=variables,
            withheld=withheld,
        )

    def _python(self, run: Run) -> PythonRecord | None:
        """The interpreter that the command begins with, if it does."""
        command = run.command[0] if run.command else ""
        if not _PYTHON.fullmatch(os.path.basename(command)):
            return None
        executable = command if os.sep in command else shutil.which(command)
        if executable is None:
            return None
        with_packages = run.operation.pip_freeze and os.environ.get("NO_PIP_FREEZE") != "1"
        interpreter = self._interpreters.get(executable)
        if interpreter is None:
            interpreter = self._interpreters[executable] = Interpreter(executable)
        signature = (with_packages, interpreter.signature)
        known = self._described.get(executable)
        if known is not None and known[0] == signature:
            return known[1]
        record = interpreter.describe(with_packages=with_packages)
        self._described[executable] = (signature, record)
        return record
