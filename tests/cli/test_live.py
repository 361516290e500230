"""The live view of the queues: what it shows, that it fits, and that the terminal is left as it was."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from orchestra.cli.frame import Changes, frame
from orchestra.cli.live import Due
from orchestra.cli.tables import text_width
from orchestra.engine.overview import Activity, Overview
from orchestra.engine.queue_state import QueueStatus
from orchestra.model.progress import Progress
from orchestra.model.retry import Retry
from orchestra.model.run import Run
from orchestra.model.scheduling import Group, Machine
from orchestra.testing.builders import a_batch, a_run
from tests.cli.conftest import Call
from tests.process import Shell

SECOND = 1_000_000
NOW = 1_000_000 * SECOND
PATIENCE = 20


def a_view(
    *,
    queues: int = 1,
    batches: tuple[Progress, ...] = (),
    activities: tuple[Activity, ...] = (),
    staged: int = 0,
    ended: tuple[Run, ...] = (),
    paused: bool = False,
    stopping: bool = False,
) -> Overview:
    waiting = tuple(a_run(id=f"s{number}", label="waiting") for number in range(staged))
    working = tuple(a_run(kind="queue", state="running") for _ in range(queues))
    status = QueueStatus(
        queues=working,
        running=tuple(one.run for one in activities),
        staged=waiting,
        waits={},
        doing=dict.fromkeys([queue.id for queue in working], "stopping: waits for run aaaa to end"),
        stopping=frozenset(queue.id for queue in working if stopping),
        groups={"": Group(paused=True)} if paused else {},
        machine=Machine(cpus=1.0, memory=1, devices=()),
        busy=(),
        now=NOW,
    )
    return Overview(status=status, batches=batches, activities=activities, ended=ended)


def progress(**fields: Any) -> Progress:
    batch = a_run(id="batch1", kind="batch", batch_spec=a_batch(), state="running")
    given = {"planned": 6, "ended": 3, "failed": 1, "running": 2, "seconds_left": 90.2}
    return Progress(batch=batch, **{**given, **fields})


def activity(name: str = "r1", **fields: Any) -> Activity:
    given = {"last_line": "epoch 3", "scalars": (("loss", 0.01234567),), "step": 3}
    run = a_run(id=name, state="running", started=NOW - 75 * SECOND, label="lr=0.1")
    return Activity(run=run, **{**given, **fields})


def shown(view: Overview, columns: int = 100, lines: int = 30, **options: Any) -> list[str]:
    return frame(view, options.pop("ended", ()), "/", columns, lines, coloured=options.pop("coloured", False))


def test_batches_runs_and_what_waits_are_shown_with_how_far_they_are() -> None:
    lines = shown(a_view(batches=(progress(),), activities=(activity(),), staged=1, paused=True))

    assert re.fullmatch(r"\d\d:\d\d:\d\d  1 running, 1 staged, 1 queue\(s\) at work", lines[0])
    assert lines[1:] == [
        "Paused: no queue starts anything. Use 'orchestra queue resume' to go on.",
        "batches",
        "  [batch1]  train.py+  #####-----  3 of 6 trials, 1 failed  about 1m31s left",
        "running",
        "  [r1]  train.py  1m15s  loss 0.01235  step 3  lr=0.1",
        "    epoch 3",
        "staged",
        "  [s0]  train.py    waits for a free slot  waiting",
    ]


def test_a_further_try_and_the_end_of_a_batch_are_told() -> None:
    again = a_run(id="r1", state="running", started=NOW, executions=2, retry=Retry(limit=3))
    over = structs.replace(
        progress(ended=6, running=0, seconds_left=None), batch=a_run(id="b", state="completed")
    )

    lines = shown(a_view(batches=(over,), activities=(Activity(run=again),)))

    assert lines[2].endswith("##########  6 of 6 trials, 1 failed  completed")
    assert ", try 2 of 4" in lines[4]
    assert Changes("/").since(a_view(activities=(Activity(run=again),)))[0].endswith(": running, try 2 of 4")


def test_a_queue_that_only_waits_for_its_runs_is_told_of() -> None:
    shown = frame(a_view(stopping=True), [], "/work", 80, 20, coloured=False)

    assert shown[1].endswith("] is stopping: waits for run aaaa to end.")


def test_runs_that_have_ended_are_shown_for_a_while() -> None:
    ended = [
        a_run(id=f"e{number}", state="completed", started=NOW, stopped=NOW + SECOND) for number in range(5)
    ]
    failed = a_run(id="bad", state="error", exit_code=3)

    lines = shown(a_view(), ended=[*ended, failed])

    assert lines[1] == "ended"
    assert [line.split()[0] for line in lines[2:]] == ["[e3]", "[e4]", "[bad]"]
    assert lines[2].split(maxsplit=2)[2] == "completed after 1s"
    assert lines[4].split(maxsplit=2)[2] == "error (3)"


@pytest.mark.parametrize("columns", [1, 10, 24, 59, 60, 200])
@pytest.mark.parametrize("lines", [1, 2, 3, 4, 7, 50])
def test_the_view_fits_into_any_terminal(columns: int, lines: int) -> None:
    wide = activity(last_line="\u754c" * 300, scalars=tuple((f"scalar{n}", 1.0) for n in range(4)))
    view = a_view(batches=(progress(),) * 4, activities=(wide,) * 5, staged=9, paused=True)

    found = shown(view, columns, lines)

    assert 0 < len(found) <= lines
    assert max(map(text_width, found)) <= columns


def test_what_there_is_no_room_for_is_counted() -> None:
    lines = shown(a_view(staged=9), lines=6)

    assert lines[1:] == [
        "staged",
        *(f"  [s{number}]  train.py    waits for a free slot  waiting" for number in range(3)),
        "  … and 6 more",
    ]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (2, []),
        (3, ["running", "  … and 2 more"]),
        (4, ["running", "  [r1]", "  … and 1 more"]),
        (5, ["running", "  [r1]", "    epoch", "  … and 1 more"]),
        (6, ["running", "  [r1]", "    epoch", "  [r2]", "    epoch"]),
    ],
)
def test_a_run_is_shown_with_what_it_does_where_there_is_room(lines: int, expected: list[str]) -> None:
    found = shown(a_view(activities=(activity("r1"), activity("r2"))), lines=lines)

    assert [
        line.replace("  train.py", " ").split(" 3")[0].split("  1m")[0].rstrip() for line in found[1:]
    ] == expected


def test_a_narrow_terminal_shows_what_differs_from_row_to_row() -> None:
    lines = shown(a_view(batches=(progress(),), activities=(activity(),)), columns=40)

    assert lines[0] == "1 running, 0 staged, 1 queue(s) at work"
    assert lines[2] == "  [batch1]  3 of 6 trials, 1 failed  ab…"
    assert lines[4] == "  [r1]  1m15s  loss 0.01235  step 3  lr…"


def test_trials_of_a_batch_are_shown_with_the_flags_that_vary_in_it() -> None:
    fields = {"batch": "batch1", "flags": {"epochs": 3, "lr": 0.1}, "label": "epochs=3 lr=0.1"}
    running, ended, waiting = (
        a_run(id=name, state=state, started=NOW, **fields)
        for name, state in (("r1", "running"), ("e1", "completed"), ("s1", "staged"))
    )
    view = a_view(activities=(Activity(run=running),), ended=(ended,))
    view = structs.replace(
        view,
        status=structs.replace(view.status, staged=(waiting,)),
        varying={"batch1": frozenset(("lr",))},
    )

    lines = shown(view, ended=[ended])

    assert [line.split()[-1] for line in lines if "[" in line] == ["lr=0.1"] * 3
    assert "epochs" not in "".join([*lines, *Changes("/").since(view)])


def test_nothing_of_a_run_can_drive_the_terminal() -> None:
    run = a_run(id="r1", state="running", started=NOW, label="a\x1b]0;T\x07\nb\u202e")

    lines = shown(
        a_view(activities=(Activity(run=run, last_line="x\x1b[2J\x9b", scalars=(("\x1b[H", 1.0),)),))
    )

    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202e]", "".join(lines))


def test_colours_are_for_those_who_want_them() -> None:
    view = a_view(batches=(progress(),), activities=(activity(),))

    plain, coloured = shown(view), shown(view, coloured=True)

    assert "\x1b" not in "".join(plain)
    assert [re.sub(r"\x1b\[\d*m", "", line) for line in coloured] == plain
    assert coloured[2].startswith("\x1b[31m")


def test_in_lines_only_what_has_changed_is_told() -> None:
    changes = Changes("/")
    first = a_view(batches=(progress(),), activities=(activity(),), staged=1)

    assert changes.since(first) == [
        "[r1] train.py (lr=0.1): running",
        "[batch1] train.py+: 3 of 6 trials, 1 failed",
        "1 running, 1 staged, 1 queue(s) at work",
    ]
    assert changes.since(first) == []
    later = a_view(
        batches=(progress(ended=4),),
        ended=(a_run(id="r1", state="completed", started=NOW, stopped=NOW + SECOND, label="lr=0.1"),),
        paused=True,
    )
    assert changes.since(later) == [
        "[r1] train.py (lr=0.1): completed after 1s",
        "[batch1] train.py+: 4 of 6 trials, 1 failed",
        "Paused: no queue starts anything. Use 'orchestra queue resume' to go on.",
        "0 running, 0 staged, 1 queue(s) at work",
    ]


def test_the_live_view_has_no_json(call: Call) -> None:
    refused = call("queue", "status", "--live", "--json")

    assert (refused.code, "cannot both be used" in refused.output + refused.error) == (2, True)


def test_without_a_terminal_it_ends_at_once_where_nothing_is_at_work(call: Call) -> None:
    assert call("queue", "status", "--live").output == "0 running, 0 staged, no queue(s) at work\n"


def test_it_goes_on_while_something_runs_or_is_staged_for_a_queue_to_come() -> None:
    due = Due()
    staging = a_view(queues=0, activities=(activity(),), staged=1)

    views = (staging, a_view(queues=0, staged=2), a_view(), a_view(queues=0, activities=(activity(),)))

    assert [due.is_over(view) for view in views] == [False] * 4
    assert due.is_over(a_view(queues=0))


def test_what_queues_leave_staged_when_they_end_is_not_waited_for() -> None:
    due = Due()

    assert not due.is_over(a_view(queues=1, staged=2))
    assert due.is_over(a_view(queues=0, staged=2))


def test_trials_that_a_batch_has_staged_are_shown_until_a_queue_has_run_them(
    shell: Shell, tmp_path: Path
) -> None:
    (tmp_path / "job.py").write_text("x = 1\n")
    assert shell.run("run", "job.py", "x=[1,2]", "--stage-trials", "-y").code == 0
    live = subprocess.Popen(
        shell.command("queue", "status", "--live"),
        stdout=subprocess.PIPE,
        cwd=shell.cwd,
        env=shell.environment,
        text=True,
    )
    assert live.stdout is not None
    with live:
        seen = live.stdout.readline()
        seen += live.stdout.readline()
        assert "0 running, 2 staged, no queue(s) at work" in seen
        assert shell.run("queue", "run-once=yes").code == 0
        seen += live.stdout.read()

    assert (live.returncode, seen.count("completed after")) == (0, 2), seen
    assert seen.endswith("0 running, 0 staged, no queue(s) at work\n")


class Terminal:
    """A live view on a terminal of its own."""

    def __init__(self, shell: Shell, columns: int = 80, lines: int = 24, **environment: str) -> None:
        self.fd, inner = pty.openpty()
        self.resize(columns, lines)
        self.process = subprocess.Popen(
            shell.command("queue", "status", "--live"),
            stdin=inner,
            stdout=inner,
            stderr=inner,
            cwd=shell.cwd,
            env={**shell.environment, "TERM": "xterm", **environment},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(inner)
        self.seen = b""

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def until(self, holds: Callable[[bytes], object]) -> bytes:
        end = time.monotonic() + PATIENCE
        while not holds(self.seen):
            assert time.monotonic() < end, self.seen[-2000:]
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.fd, 65536)
                except OSError:
                    assert holds(self.seen), self.seen[-2000:]
        return self.seen

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.fd)


LEFT = b"\x1b[?25h\x1b[?1049l"


@pytest.fixture
def open_terminal(shell: Shell) -> Generator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def opener(**options: Any) -> Terminal:
        opened.append(Terminal(shell, **options))
        return opened[-1]

    yield opener
    for one in opened:
        one.close()


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 0), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGHUP, -signal.SIGHUP)],
)
def test_the_terminal_is_left_as_it_was_however_the_view_ends(
    open_terminal: Callable[..., Terminal], number: signal.Signals, code: int
) -> None:
    live = open_terminal()
    live.until(lambda seen: b"no queue(s) at work" in seen)
    assert live.seen.startswith(b"\x1b[?1049h\x1b[?25l")
    if number == signal.SIGINT:
        os.write(live.fd, b"\x03")
    else:
        live.process.send_signal(number)

    live.until(lambda seen: seen.endswith(LEFT))
    assert live.process.wait(PATIENCE) == code


def test_it_is_drawn_anew_when_the_window_changes_and_gives_the_terminal_back_while_it_is_stopped(
    open_terminal: Callable[..., Terminal],
) -> None:
    live = open_terminal(columns=80)
    live.until(lambda seen: b"no queue(s) at work" in seen)

    live.resize(20, 10)
    live.until(lambda seen: "0 running, 0 staged…".encode() in seen)
    os.write(live.fd, b"\x1a")
    live.until(lambda seen: seen.endswith(LEFT))
    assert os.WIFSTOPPED(os.waitpid(live.process.pid, os.WUNTRACED)[1])
    before = len(live.seen)
    live.process.send_signal(signal.SIGCONT)
    live.until(lambda seen: b"\x1b[?1049h" in seen[before:] and b"staged" in seen[before:])


def test_a_queue_at_work_is_shown_until_it_has_ended(
    shell: Shell, tmp_path: Path, open_terminal: Callable[..., Terminal]
) -> None:
    gate = tmp_path / "gate"
    (tmp_path / "job.py").write_text(
        "import os, time\nx = 1\nprint(f'loss: {x / 2}\\r50%', flush=True)\n"
        f"while not os.path.exists({str(gate)!r}): time.sleep(0.01)\n"
        "raise SystemExit(x == 2)\n"
    )
    shell.run("run", "job.py", "x=[1,2]", "-y", "--stage-trials")
    queue = shell.start("queue", "run-once=yes", "max-fails=1", stdout=subprocess.DEVNULL)
    live = open_terminal(NO_COLOR="1")

    live.until(lambda seen: b"0 of 2 trials" in seen and b"loss 0.5" in seen and b"    50%" in seen)
    in_lines = shell.start("queue", "status", "--live")
    assert in_lines.stdout is not None
    first = in_lines.stdout.readline()
    gate.touch()

    live.until(lambda seen: LEFT in seen)
    live.until(
        lambda seen: b"2 of 2 trials" in seen and b"completed after" in seen and b"error (1) after" in seen
    )
    assert b"\x1b[1m" not in live.seen
    assert live.process.wait(PATIENCE) == queue.wait(PATIENCE) == 1
    rest = in_lines.communicate(timeout=PATIENCE)[0].splitlines()
    assert first.endswith("job.py (x=1): running\n")
    assert rest[-1] == "0 running, 0 staged, no queue(s) at work"
    assert any(line.endswith("job.py+: 2 of 2 trials, 1 failed") for line in rest)
    assert in_lines.returncode == 1
