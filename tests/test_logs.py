"""The JSON lines: their form, who writes them, and what does not get in their way."""

from __future__ import annotations

import ast
import json
import logging
import os
import re
import stat
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from orchestra import logs
from orchestra.errors import UserError
from orchestra.model.events import EVENT_NAMES, EVENT_SCHEMA, Event
from tests.process import Shell

SCHEMA = json.loads((Path(logs.__file__).parent / "schemas" / "events.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def line_of(event: Event) -> dict[str, Any]:
    rendered = logs.render(event)
    assert rendered.count(b"\n") == 1 and rendered.endswith(b"\n")
    line = json.loads(rendered)
    VALIDATOR.validate(line)
    return line


def an_event(**fields: Any) -> Event:
    return Event(**{"name": "run.started", "time": 1_735_812_672_000_007, **fields})


def test_the_shipped_schema_is_the_one_of_the_types() -> None:
    path = Path(logs.__file__).parent / "schemas" / "events.schema.json"

    assert path.read_text() == logs.schema_text(), "write schema_text() to the file"
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", EVENT_NAMES)
def test_every_event_has_a_line_that_validates(name: str) -> None:
    line = line_of(
        an_event(name=name, run="r", attempt=1, operation="o", batch="b", worker="w", data={"a": [1]})
    )

    assert (line["event"], line["schema"]) == (name, EVENT_SCHEMA)


def _emitted() -> Iterator[str]:
    """Every name that the package's own calls give an event."""
    for path in Path(logs.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called.strip("_") not in ("emit", "tell", "log", "say", "Event"):
                continue
            given = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "name")]
            for text in (one for argument in given for one in ast.walk(argument)):
                if isinstance(text, ast.Constant) and re.fullmatch(r"[a-z]+\.[a-z_]+", str(text.value)):
                    yield str(text.value)


def test_every_name_that_is_emitted_is_one_that_the_schema_knows() -> None:
    found = set(_emitted())

    assert len(found) > 25
    assert found <= set(EVENT_NAMES)


def test_a_line_says_when_in_two_ways_and_leaves_out_what_says_nothing() -> None:
    assert line_of(an_event()) == {
        "schema": EVENT_SCHEMA,
        "timestamp": "2025-01-02T10:11:12.000007Z",
        "time": 1_735_812_672_000_007,
        "event": "run.started",
        "level": "debug",
        "logger": "orchestra",
    }


@pytest.mark.parametrize(
    "change", [{"event": "run.exploded"}, {"schema": 99}, {"level": "loud"}, {"time": "now"}]
)
def test_the_schema_refuses_what_is_no_line_of_ours(change: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid({**line_of(an_event()), **change})


def test_values_of_any_kind_make_valid_json() -> None:
    data = {"bytes": "caf\udce9", "path": Path("/x"), "nan": float("nan"), "text": "a\nb\u2028", "set": {1}}

    assert line_of(an_event(data=data))["data"]["path"] == "/x"


def test_the_json_console_keeps_results_and_events_apart(capfd: pytest.CaptureFixture[str]) -> None:
    console = logs.JsonConsole()
    console.say("result")
    console.log(an_event(level="debug"))

    out, err = capfd.readouterr()
    assert out == "result\n"
    assert json.loads(err)["event"] == "run.started"


def test_a_reader_that_went_away_stops_nothing() -> None:
    code = (
        "import os\nfrom orchestra.logs import JsonConsole\nr, w = os.pipe(); os.close(r); os.dup2(w, 1)\n"
        "c = JsonConsole(); c.say('x'); os.write(2, str(c.broken_pipe).encode())"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert (ended.returncode, ended.stderr) == (0, "True")


def test_a_log_file_is_private_and_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    logs.LogFile(path)(an_event(name="run.staged"))
    logs.LogFile(path)(an_event(name="run.started"))

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == [
        "run.staged",
        "run.started",
    ]


def test_a_torn_line_of_somebody_who_died_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"schema":1,"ti')
    logs.LogFile(path)(an_event())

    assert json.loads(path.read_text().splitlines()[1])["event"] == "run.started"


def test_several_processes_write_whole_lines_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    code = (
        "import sys\nfrom orchestra.logs import LogFile\nfrom orchestra.model.events import Event\n"
        "f = LogFile(sys.argv[1])\n"
        "for n in range(200): f(Event(name='run.output', time=n, data={'text': sys.argv[2] * 5000}))\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path), letter]) for letter in "ab"]
    assert [writer.wait() for writer in writers] == [0, 0]

    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 400
    assert all(len(set(line["data"]["text"])) == 1 for line in lines)


@pytest.mark.parametrize("name", ["missing/events.jsonl", "."])
def test_a_log_file_that_can_not_be_written_is_said_before_anything_is_done(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(UserError, match="the log file can't be written"):
        logs.LogFile(tmp_path / name)


def test_a_full_disk_is_said_once_and_stops_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    file = logs.LogFile("/dev/full")
    file(an_event())
    file(an_event())

    assert (
        capfd.readouterr().err
        == "WARNING: the log file can't be written: No space left on device: '/dev/full'\n"
    )


@pytest.fixture
def taken_over() -> Iterator[list[Event]]:
    """The events that the standard library's logging became."""
    events: list[Event] = []
    root = logging.getLogger()
    before = root.handlers[:]
    logs.take_over_logging(events.append)
    yield events
    root.handlers[:] = before
    logging.captureWarnings(False)


def test_what_other_libraries_log_becomes_lines_from_warning_on(taken_over: list[Event]) -> None:
    other = logging.getLogger("some.library")
    other.info("chatter")
    other.warning("low on %s", "ink")
    try:
        secret = 1
        raise ValueError(f"broken {secret}")
    except ValueError:
        other.exception("it failed")

    low, failed = taken_over
    assert (low.level, low.logger, low.message) == ("warning", "some.library", "low on ink")
    assert (failed.level, failed.message) == ("error", "it failed")
    assert failed.data["exception"].rstrip().endswith("ValueError: broken 1")
    line_of(failed)


def test_python_warnings_become_lines(taken_over: list[Event]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old ways", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(False)

    assert "old ways" in taken_over[0].message


def test_a_sink_that_logs_does_not_go_round_in_circles(taken_over: list[Event]) -> None:
    logs.take_over_logging(lambda event: logging.getLogger("sink").warning("about %s", event.message))
    logging.getLogger("other").warning("once")

    assert [event.message for event in taken_over] == ["once"]


def test_of_a_run_all_lines_validate_and_its_output_is_in_them_alone(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "both.py").write_text(
        "import os\nos.write(1, b'out\\n')\nos.write(1, b'\\xff\\xfe')\nos.write(2, b'err\\n')\n"
    )
    path = tmp_path / "events.jsonl"
    ran = shell.run("run", "both.py", "-y", "--log-format", "json", "--log-file", str(path), separate=True)

    assert (ran.code, ran.output) == (0, "")
    assert ran.error == path.read_text()
    lines = [json.loads(line) for line in ran.error.splitlines()]
    for line in lines:
        VALIDATOR.validate(line)
    assert [line["event"] for line in lines if line["event"] != "run.output"] == [
        "run.created",
        "run.submitted",
        "run.started",
        "run.exited",
    ]
    output = [line["data"] for line in lines if line["event"] == "run.output"]
    assert any("base64" in data for data in output)
    assert [data["text"] for data in output if data["stream"] == "stderr"] == ["err\n"]
    assert {line["run"] for line in lines} == {os.listdir(shell.home / "runs")[0]}
