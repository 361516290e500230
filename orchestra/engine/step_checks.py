"""Check what a pipeline expects of a step's run: its output, its files, what is in them."""

from __future__ import annotations

import re
from pathlib import Path

from orchestra.console import Console
from orchestra.engine.off_loop import off_loop
from orchestra.engine.session import Session
from orchestra.errors import text_of_os_error
from orchestra.model.operation import Check, Step
from orchestra.model.run import Run
from orchestra.workspace.layout import CONTROL
from orchestra.workspace.output import read_output


async def check_step(session: Session, run: Run, step: Step, pipeline: Run, console: Console) -> int:
    """Check the ended ``run`` of ``step`` and say what is checked and what fails; how many checks passed."""
    checker = _Checker(session, run, pipeline, console)
    passed = 0
    for check in step.expect:
        passed += await checker.passes(check)
    return passed


class _Checker:
    def __init__(self, session: Session, run: Run, pipeline: Run, console: Console) -> None:
        self.session = session
        self.run = run
        self.project = Path(pipeline.operation.source or ".")
        self.console = console

    async def passes(self, check: Check) -> bool:
        if check.output is not None:
            self._say(f"checking run {self.run.id} output for '{check.output}'")
            directory = self.session.attempt_directory(self.run)
            output = await off_loop(lambda: b"".join(read_output(directory)))
            return self._find(check.output, output, f"run {self.run.id} output")
        assert check.file is not None
        self._say(f"checking run {self.run.id} files '{check.file}'")
        pattern = check.file
        files = await off_loop(lambda: self._files(pattern))
        if not files:
            return self._failed(f"could not find any files matching '{check.file}'")
        return all([await self._file_passes(file, check) for file in files])

    async def _file_passes(self, file: Path, check: Check) -> bool:
        name = file.relative_to(self.session.directory(self.run))
        try:
            content = await off_loop(file.read_bytes) if check.contains or check.compare_to else b""
            if check.contains is not None:
                self._say(f"checking run {self.run.id} file {name} for '{check.contains}'")
                if not self._find(check.contains, content, str(name)):
                    return False
            if check.compare_to is not None:
                self._say(f"comparing run {self.run.id} file {name} to {check.compare_to}")
                if content != await off_loop((self.project / check.compare_to).read_bytes):
                    return self._failed(f"{name} differs from {check.compare_to}")
        except OSError as error:
            return self._failed(text_of_os_error(error))
        return True

    def _files(self, pattern: str) -> list[Path]:
        directory = self.session.directory(self.run)
        if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
            return []
        found = sorted(path for path in directory.glob(pattern) if path.is_file())
        return [path for path in found if CONTROL not in path.relative_to(directory).parts]

    def _find(self, pattern: str, content: bytes, where: str) -> bool:
        if re.search(pattern, content.decode(errors="replace"), re.MULTILINE):
            return True
        return self._failed(f"could not find pattern '{pattern}' in {where}")

    def _failed(self, reason: str) -> bool:
        message = f"check failed: {reason}"
        self.session.emit("steps.check", self.run, level="error", message=message, console=self.console)
        return False

    def _say(self, message: str) -> None:
        self.session.emit("steps.check", self.run, level="info", message=message, console=self.console)
