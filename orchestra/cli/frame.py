"""The live view of the queues, as lines that fit into a terminal; and its changes, as lines for a file."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Literal, NamedTuple

from orchestra.cli import run_text, tables
from orchestra.cli.queue_status import notices, staged_row
from orchestra.engine.overview import Activity, Overview
from orchestra.engine.queue_state import QueueStatus
from orchestra.model.duration import format_duration
from orchestra.model.progress import Progress
from orchestra.model.run import FAILED, Run

Style = Literal["", "title", "faint", "bad"]
_CODES: dict[Style, str] = {"title": "\x1b[1m", "faint": "\x1b[2m", "bad": "\x1b[31m"}
NARROW = 60
"""With fewer columns than this, what every row would say again is left out."""
_BAR = 10
_ENDED_SHOWN = 3


class Line(NamedTuple):
    """One line, and how it looks where colours are wanted."""

    text: str
    style: Style = ""


Entry = list[Line]
"""What is told of one thing: shown as a whole, or not at all."""


def frame(
    view: Overview, ended: Sequence[Run], here: str, columns: int, lines: int, *, coloured: bool
) -> list[str]:
    """The view in at most ``lines`` lines of ``columns`` columns; ``ended``: runs that have ended, newest last."""
    narrow = columns < NARROW
    shown = [_headline(view, narrow), *(Line(text, "bad") for text in notices(view.status))]
    status = view.status
    shown += [
        Line(f"Queue [{queue.short_id}] is {status.doing[queue.id]}.", "bad")
        for queue in status.queues
        if queue.id in status.stopping
    ]
    batches = [_batch_row(one, narrow) for one in view.batches]
    # Of thousands that wait, those are looked at that there may be room for.
    staged = [staged_row(run, _label(run, view), here, status) for run in status.staged[:lines]]
    sections = (
        ("batches", _in_columns(batches, _styles_of(view.batches)), len(batches)),
        ("running", _activities(view, lines, here, narrow), len(view.activities)),
        ("ended", _ended(view, ended[-_ENDED_SHOWN:], here), min(len(ended), _ENDED_SHOWN)),
        ("staged", _in_columns(staged), len(status.staged)),
    )
    for title, entries, total in sections:
        if entries:
            shown += _fitting(title, entries, total, lines - len(shown))
    return [_finished(line, columns, coloured) for line in shown[:lines]]


def _headline(view: Overview, narrow: bool) -> Line:
    clock = time.strftime("%H:%M:%S", time.localtime(view.status.now / 1e6))
    return Line(_counts(view.status) if narrow else f"{clock}  {_counts(view.status)}", "title")


def _counts(status: QueueStatus) -> str:
    queues = f"{len(status.queues) or 'no'} queue(s) at work"
    return f"{len(status.running)} running, {len(status.staged)} staged, {queues}"


def _fitting(title: str, entries: Sequence[Entry], total: int, room: int) -> list[Line]:
    """As many entries as there is room for below their title, and how many more of all there are."""
    if room < 2:
        return []
    shown, taken = [Line(title, "title")], 0
    for entry in entries:
        if len(shown) + len(entry) + (taken < total - 1) > room:
            break
        shown += entry
        taken += 1
    beginning = entries[0][: room - 1 - (total > 1)]
    if not taken and beginning:
        shown += beginning
        taken = 1
    if taken < total:
        shown.append(Line(f"  … and {total - taken} more", "faint"))
    return shown


def _finished(line: Line, columns: int, coloured: bool) -> str:
    text = tables.cut(tables.cell(line.text), columns)
    code = _CODES.get(line.style, "") if coloured else ""
    return f"{code}{text}\x1b[0m" if code else text


def _in_columns(rows: Sequence[Sequence[str]], styles: Sequence[Style] | None = None) -> list[Entry]:
    texts = tables.render(rows, indent="  ").splitlines()
    plain: list[Style] = [""] * len(texts)
    return [[Line(text, style)] for text, style in zip(texts, styles or plain, strict=True)]


def _styles_of(batches: Sequence[Progress]) -> list[Style]:
    return ["bad" if one.failed else "" for one in batches]


def _batch_row(one: Progress, narrow: bool) -> tuple[str, ...]:
    full = one.ended * _BAR // one.planned if one.planned else 0
    left = "" if one.seconds_left is None else f"about {format_duration(math.ceil(one.seconds_left))} left"
    if one.is_over:
        left = one.batch.state
    told = (_trials(one), left)
    bar = f"{'#' * full}{'-' * (_BAR - full)}"
    return f"[{one.batch.short_id}]", *(told if narrow else (one.batch.operation_name, bar, *told))


def _trials(one: Progress) -> str:
    return f"{one.ended} of {one.planned} trials" + (f", {one.failed} failed" if one.failed else "")


def _activities(view: Overview, most: int, here: str, narrow: bool) -> list[Entry]:
    activities = view.activities[:most]
    rows = [_running_row(one, view, here, narrow) for one in activities]
    entries = _in_columns(rows)
    for entry, one in zip(entries, activities, strict=True):
        if one.last_line:
            entry.append(Line(f"    {one.last_line}", "faint"))
    return entries


def _running_row(one: Activity, view: Overview, here: str, narrow: bool) -> tuple[str, ...]:
    run, now = one.run, view.status.now
    elapsed = "" if run.started is None else format_duration(max(0, now - run.started) // 1_000_000)
    values = [f"{name} {value:.4g}" for name, value in one.scalars]
    values += [f"step {one.step}"] if one.step else []
    state = elapsed if run.state == "running" else view.status.jobs.get(run.id, "starting")
    told = (run_text.with_try(state, run), "  ".join(values), _label(run, view))
    return f"[{run.short_id}]", *(told if narrow else (run_text.operation(run, here), *told))


def _ended(view: Overview, runs: Sequence[Run], here: str) -> list[Entry]:
    rows = [
        (f"[{run.short_id}]", run_text.operation(run, here), _end_of(run), _label(run, view)) for run in runs
    ]
    return _in_columns(rows, ["bad" if run.state in FAILED else "" for run in runs])


def _label(run: Run, view: Overview) -> str:
    return run_text.label_beside_others(
        run, view.varying.get(run.batch or "", ())
    ) or run_text.label_or_space(run)


def _end_of(run: Run) -> str:
    took = None if run.started is None or run.stopped is None else (run.stopped - run.started) / 1e6
    code = f" ({run.exit_code})" if run.state == "error" and run.exit_code is not None else ""
    return run.state + code + ("" if took is None else f" after {format_duration(max(0.0, took))}")


class Changes:
    """What has changed from one look to the next, in lines: for a file, or a pipe."""

    def __init__(self, here: str) -> None:
        self._here = here
        self._told: dict[str, str] = {}

    def since(self, view: Overview) -> list[str]:
        """The lines for what is new in ``view``; all of it at first."""
        running = [one.run for one in view.activities if one.run.state == "running"]
        told = [(run.id, self._run_text(run, view, _end_of(run))) for run in view.ended]
        told += [(run.id, self._run_text(run, view, run_text.with_try("running", run))) for run in running]
        told += [
            (one.batch.id, f"[{one.batch.short_id}] {one.batch.operation_name}: {_trials(one)}")
            for one in view.batches
        ]
        told += [("notices", " ".join(notices(view.status))), ("counts", _counts(view.status))]
        lines = [tables.cell(text) for what, text in told if text and self._told.get(what) != text]
        self._told.update(told)
        return lines

    def _run_text(self, run: Run, view: Overview, state: str) -> str:
        label = _label(run, view)
        label = f" ({label})" if label else ""
        return f"[{run.short_id}] {run_text.operation(run, self._here)}{label}: {state}"
