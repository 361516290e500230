"""Looking for runs by what they came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestra.engine.results import results_of
from orchestra.engine.session import Session
from orchestra.model.run import Run
from orchestra.workspace.results import Results


def results_of_many(session: Session, runs: Sequence[Run]) -> Mapping[str, Results]:
    """The results of each of ``runs``, by its id: as :func:`~orchestra.engine.results.results_of` has them."""
    return {run.id: results_of(session, run) for run in runs}
