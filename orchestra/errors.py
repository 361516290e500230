"""Every error that Orchestra raises on purpose, with the exit code that the command line ends with.

A message is one sentence that says what is wrong; ``hint`` is one more that says what to do.
"""

from __future__ import annotations

import errno

INTERRUPTED = 130
"""The exit code after Ctrl-C."""


class OrchestraError(Exception):
    """The root. ``message`` says what is wrong, ``hint`` what to do about it."""

    exit_code: int = 1
    """What the command line exits with."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def kind(self) -> str:
        """The error's name in JSON output."""
        return type(self).__name__


class UserError(OrchestraError):
    """Something that was asked for does not exist or can't be done (exit code 1)."""


class OperationNotFound(UserError):
    """No operation has this name."""


class ProjectFileError(UserError):
    """The project's file can't be read, or says something that has no meaning; the message names the line."""


class FlagError(UserError):
    """A flag is unknown, missing, or has a value that it can't have."""


class ScriptError(UserError):
    """The script can't be read or run: missing, not executable, or not valid Python."""


class HomeError(UserError):
    """The home can't be used: a file, not writable, or its parent is missing."""


class RunNotFound(UserError, LookupError):
    """No run matches, or more than one does."""


class RunBusy(UserError):
    """The run is running, or somebody else is starting it."""


class RunBroken(UserError):
    """A run's record can't be read; the message names the file."""


class IdTaken(UserError):
    """A run with this id exists already."""


class UsageError(OrchestraError):
    """The command line itself is wrong, or an answer was due at the end of input (exit code 2)."""

    exit_code = 2


class CheckFailed(OrchestraError):
    """A check that was asked for failed (exit code 3)."""

    exit_code = 3


class Aborted(OrchestraError):
    """The person said no at a prompt (exit code 4)."""

    exit_code = 4


class PluginError(UserError):
    """A plugin can't be used."""


class PluginNotFound(PluginError, LookupError):
    """No installed distribution provides a plugin of this kind and name."""


class PluginConflict(PluginError):
    """Two distributions provide a plugin of the same kind and name."""


class PluginLoadFailed(PluginError):
    """A plugin failed to import, or does not keep its contract's names and signatures."""


class PluginOptionsInvalid(PluginError):
    """A plugin's options have an unknown name or a wrong type."""


class ExpandError(UserError):
    """An expander can't make trials of this batch."""


class ResolveError(UserError):
    """A source could not be made available in the run's directory."""


class Stopped(ResolveError):
    """What a run needs was still being provided when somebody wished the run to stop."""

    def __init__(self, message: str, signal: str, code: int) -> None:
        super().__init__(message)
        self.signal = signal
        """What the run was told: ``INT``, ``TERM`` or ``KILL``."""
        self.code = code
        """How a run ends that is ended so: minus the signal's number."""
        self.exit_code = INTERRUPTED if signal == "INT" else 256 + code


class ExecutorError(OrchestraError):
    """An executor could not take a job, or has lost contact. Never an operation's own failure."""

    exit_code = 75


class StoreError(OrchestraError):
    """The store could not do what it was asked for."""

    exit_code = 75


class StoreUnavailable(StoreError):
    """The store is locked, away, or out of space: try again later."""


class StoreCorrupt(StoreError):
    """What the store keeps can't be read. The engine rebuilds it from the run directories."""


class StoreTooNew(StoreError):
    """The store was written by a newer version and is left untouched."""

    exit_code = 1


class RevisionConflict(StoreError):
    """The run was changed by somebody else since it was read."""


class IllegalTransition(OrchestraError):
    """A run was asked to move along an edge that the lifecycle does not have: a bug of ours."""

    exit_code = 70


SHORTAGES = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
"""The numbers of those of the operating system's errors that may be over when others have ended."""


def text_of_os_error(error: OSError) -> str:
    """The operating system's reason in its own words, with the file where it is known."""
    reason = error.strerror or str(error)
    return f"{reason}: '{error.filename}'" if error.filename else reason
