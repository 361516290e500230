"""What the end of a trial means for its batch, and what is told of it."""

from __future__ import annotations

from orchestra.engine.control import SIGNALS, Control, Wish
from orchestra.engine.inprocess import InProcessAttempt
from orchestra.engine.session import Session
from orchestra.model import lifecycle
from orchestra.model.batch import Batch
from orchestra.model.ending import ending_of
from orchestra.model.run import FAILED, Run


class Verdicts:
    """Judges the trials of one batch. What it is asked for it answers with whether the batch goes on."""

    def __init__(self, session: Session, attempt: InProcessAttempt, control: Control, spec: Batch) -> None:
        self.session = session
        self.attempt = attempt
        self.control = control
        self.spec = spec
        self.fails = 0
        self.ends_here = False
        """Whether what has become of a trial ends the batch."""
        self.told_stopped = False

    def judge(self, ended: Run) -> bool:
        """What the end of a trial means that the batch has waited for."""
        if self.control.wish >= Wish.LEAVE:
            return self.stopped(ended)
        if lifecycle.has_failed(ended):
            return self._failed(ended)
        if ended.state == "terminated":
            self.say_error(f"Trial {ended.id} was terminated", ended)
        return True

    def judge_recorded(self, ended: Run) -> bool:
        """What it means of one that ended well, but of which that could perhaps not be recorded."""
        return ended.state not in FAILED or self._failed(ended)

    def stopped(self, trial: Run | None = None) -> bool:
        """The batch was told to stop; ``trial``: the one that was ended for it."""
        if trial is not None and self.control.wish != Wish.LEAVE:
            self._say(f"Stopping trial {trial.id}", trial)
        if not self.told_stopped:
            self.told_stopped = True
            self._say("Stopping batch (pending trials can be started as needed)", self.attempt.run)
        self.attempt.stopped_by, self.attempt.code = SIGNALS.get(self.control.wish, ("TERM", -15))
        return False

    def say_error(self, message: str, run: Run) -> None:
        """Tell what is wrong with a trial."""
        self.session.emit("log.message", run, level="error", message=message, console=self.attempt.console)

    def _failed(self, trial: Run) -> bool:
        code = trial.exit_code if trial.exit_code is not None else 1
        if trial.state == "terminated":
            self.say_error(f"Trial {trial.id} was terminated: {ending_of(trial).reason}", trial)
            # The batch itself was not.
            code = 1
        elif trial.state == "lost":
            self.say_error(f"Trial {trial.id} is lost: {trial.reason}", trial)
        elif trial.state == "aborted":
            why = (trial.reason or "it was never started").removeprefix("aborted because ")
            self.say_error(f"Trial {trial.id} was aborted: {why}", trial)
        elif trial.reason:
            self.say_error(f"Trial {trial.id} exited with an error: ({code}) {trial.reason}", trial)
        else:
            self.say_error(f"Trial {trial.id} exited with an error ({code}) - see log for details", trial)
        self.fails += 1
        if self.spec.fail_on_trial_error:
            why = "a trial failed"
        elif self.spec.max_fails is not None and self.fails >= self.spec.max_fails:
            why = f"{self.fails} trial{'' if self.fails == 1 else 's'} failed"
        else:
            return True
        if self.ends_here:
            return False
        pending = "pending trials can be started as needed"
        self.say_error(f"Stopping batch because {why} ({pending})", self.attempt.run)
        self.attempt.code = code
        return False

    def _say(self, message: str, run: Run) -> None:
        self.session.emit("batch.stopped", run, level="info", message=message, console=self.attempt.console)
