"""Which trials a batch is to have next: its expander says so, from what has come of those before."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
from msgspec import structs

from orchestra.child.supervisor import failpoint
from orchestra.console import Console
from orchestra.engine.expansion import Expansion, expand
from orchestra.engine.off_loop import off_loop
from orchestra.engine.session import Session
from orchestra.engine.trials import trials_of
from orchestra.model.batch import Batch, Proposal, TrialResult
from orchestra.model.growing import refers_to_flags
from orchestra.model.run import FINAL, Run

PROPOSAL_LIMIT = 1000
"""Trials that are proposed at once."""


class Making:
    """Trials on their way from those who make them to those who execute them."""

    def __init__(self) -> None:
        self.send, self.receive = anyio.create_memory_object_stream[Run](PROPOSAL_LIMIT)
        self.looked_at: Run | None = None
        """The next one, if somebody has asked which that is."""
        self.count = 0
        self.error: Exception | None = None
        """What kept the rest from being made."""

    def take(self, made: Sequence[Run]) -> None:
        self.count += len(made)
        for trial in made:
            self.send.send_nowait(trial)

    def upcoming(self) -> Run | None:
        """The next trial, if it is made already."""
        if self.looked_at is None:
            try:
                self.looked_at = self.receive.receive_nowait()
            except (anyio.WouldBlock, anyio.EndOfStream):
                return None
        return self.looked_at

    async def next(self) -> Run | None:
        """Take the next trial; None if there are no more."""
        trial, self.looked_at = self.looked_at, None
        if trial is None:
            try:
                trial = await self.receive.receive()
            except anyio.EndOfStream:
                return None
        return trial


class Proposing:
    """What the expander of one batch proposes."""

    def __init__(self, session: Session, console: Console) -> None:
        self._session = session
        self._console = console
        self._expansion: tuple[Batch, Expansion] | None = None
        self._objectives: dict[tuple[str, int], float | None] = {}
        """Of completed trials, by id and attempt."""
        self._told_missing = False
        """That no trial has the objective."""

    async def propose(self, run: Run, spec: Batch) -> tuple[Proposal, int]:
        """What comes next, and the number of the first of these trials."""
        trials = await trials_of(self._session, run)
        last = max((trial.trial or 0 for trial in trials), default=0)
        expansion = await self._expanded(spec, has_gaps=last > len(trials))
        proposal = await expansion.propose(await self._history(run, spec, trials), PROPOSAL_LIMIT)
        failpoint("batch.proposed")
        self._session.emit("batch.proposed", run, console=self._console, trials=len(proposal.trials))
        return proposal, last + 1

    async def look_at_objectives(self, run: Run, spec: Batch) -> None:
        """Say so if the batch has an objective and its trials have not."""
        if spec.objective is not None:
            await self._look_at(run, await trials_of(self._session, run), spec.objective)

    async def _expanded(self, spec: Batch, *, has_gaps: bool) -> Expansion:
        # Where trials have been deleted the others are not the first ones.
        is_told = has_gaps and not refers_to_flags(spec)
        spec = structs.replace(spec, extended=True) if is_told else spec
        if self._expansion is None or self._expansion[0] != spec:
            self._expansion = (spec, await expand(self._session, spec))
        return self._expansion[1]

    async def _history(self, run: Run, spec: Batch, trials: Sequence[Run]) -> tuple[TrialResult, ...]:
        if spec.objective is not None:
            await self._look_at(run, trials, spec.objective)
        return tuple(
            TrialResult(
                flags=trial.flags,
                outcome=trial.state if trial.state in FINAL else None,
                objective=self._objectives.get((trial.id, trial.attempt)),
            )
            for trial in trials
        )

    async def _look_at(self, run: Run, trials: Sequence[Run], objective: str) -> None:
        from orchestra.engine.objective import missing_objective, objectives_of

        await objectives_of(self._session, trials, objective, self._objectives)
        if self._told_missing:
            return
        missing = await off_loop(
            lambda: missing_objective(self._session, trials, objective, self._objectives)
        )
        if missing is not None:
            self._told_missing = True
            self._session.emit("log.message", run, level="warning", message=missing, console=self._console)
