"""What every command has in common: options, errors, exit codes, and what is imported on the way."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

import orchestra
from orchestra.cli import app, options
from orchestra.errors import Aborted, CheckFailed, StoreUnavailable, UsageError, UserError
from orchestra.testing.builders import some_runs
from tests.cli.conftest import Call
from tests.process import Shell
from tests.saved_runs import ended, saved

HEAVY = ("anyio", "asyncio", "rich", "stevedore", "structlog", "yaml", "importlib.metadata")


def imported_by(*arguments: str, home: Path) -> set[str]:
    """The modules that a command imports."""
    code = (
        "import sys, os; from orchestra.cli import entry; code = entry.execute(sys.argv[1:]);"
        "os.write(2, ('MODULES ' + ' '.join(sys.modules)).encode()); sys.exit(code)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "ORCHESTRA_CONFIG"}
    environment["XDG_CONFIG_HOME"] = str(home / "no-config")
    command = [sys.executable, "-c", code, "-H", str(home), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return set(ended.stderr.partition("MODULES ")[2].split())


# What is imported


def test_the_version_is_that_of_the_distribution(call: Call) -> None:
    declared = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["version"]

    assert call("--version").output == f"orchestra {declared}\n" == f"orchestra {orchestra.__version__}\n"


def test_the_version_is_known_before_anything_is_imported(home: Path) -> None:
    modules = imported_by("--version", home=home)

    assert not modules & {*HEAVY, "cyclopts", "msgspec", "sqlite3", "orchestra.cli.app"}
    assert not home.exists()


def test_a_listing_needs_no_event_loop_and_no_foreign_plugins(home: Path) -> None:
    saved(home, ended())
    imported_by("runs", home=home)  # the plugins are listed once for a home

    modules = imported_by("runs", home=home)

    assert sorted(modules & set(HEAVY)) == []
    assert not modules & {"orchestra.cli.run", "orchestra.cli.stop", "orchestra.engine.queue"}
    assert sorted(imported_by("runs", "info", home=home) & set(HEAVY)) == []


def test_a_queue_needs_nothing_of_what_is_for_scripts(home: Path) -> None:
    saved(home, ended())

    modules = imported_by("queue", "run-once=yes", home=home)

    assert not modules & {"orchestra.project.script", "orchestra.workspace.source", "orchestra.workspace.git"}


def test_public_names_are_imported_when_they_are_used() -> None:
    code = (
        "import sys, orchestra; assert 'msgspec' not in sys.modules;"
        "from orchestra import RunRequest, RunNotFound, Orchestra;"
        "assert set(orchestra.__all__) <= set(dir(orchestra))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    for name in orchestra.__all__:
        assert getattr(orchestra, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        orchestra.nonsense  # pyright: ignore


# Global options


@pytest.mark.parametrize("place", ["before", "after", "equals"])
def test_global_options_stand_before_and_after_the_verb(call: Call, tmp_path: Path, place: str) -> None:
    saved(tmp_path / "h", ended(label="mine"))
    arguments = {
        "before": ("-H", "h", "-C", ".", "--debug", "runs"),
        "after": ("runs", "-H", "h", "--debug", "-C", "."),
        "equals": ("runs", "-H", "h", "--log-format=console"),
    }[place]

    called = call(*arguments)

    assert (called.code, len(called.lines)) == (0, 1)
    assert called.output.endswith("mine\n")


def test_after_two_dashes_nothing_is_a_global_option() -> None:
    given = options.GlobalOptions()

    assert options.take(["run", "--", "-H", "x", "--version"], given) == ["run", "--", "-H", "x", "--version"]
    assert (given.home, given.version) == (None, False)


def test_a_global_option_without_its_value_is_a_usage_error(call: Call) -> None:
    assert call("runs", "-H").code == 2
    assert call("--log-format", "xml", "runs").error.startswith(
        "orchestra: invalid value 'xml' for --log-format"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [("nowhere", "directory 'nowhere' does not exist"), ("file", "'file' is not a directory")],
)
def test_the_project_directory_has_to_be_one(call: Call, tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "file").touch()

    called = call("-C", name, "runs")

    assert (called.code, called.error) == (
        1,
        f"orchestra: {message}\nGive the project's directory with -C.\n",
    )


def test_a_deleted_current_directory_is_said(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    assert call("runs").error.startswith("orchestra: the current directory is gone\n")


# Help and what is not known


def test_the_help_lists_every_verb_without_importing_one(call: Call) -> None:
    called = call("--help")

    assert called.code == 0
    for name in app.VERBS:
        assert f"\n  {name.partition(' ')[0]} " in called.output
    assert call().output == called.output


@pytest.mark.parametrize("name", app.VERBS)
def test_every_verb_has_a_plain_help(call: Call, name: str) -> None:
    called = call(*name.split(), "--help")

    assert called.code == 0
    assert called.output.startswith("Usage: orchestra")
    negatives = set(re.findall(r"--no-[a-z-]+", called.output))
    assert negatives <= {"--no-format", "--no-gpus", "--no-wait"}
    assert not set("│╭╰") & set(called.output)


def test_a_group_has_a_help_and_a_default(call: Call) -> None:
    assert "delete" in call("runs", "--help").output
    assert "sqlite" in {plugin["name"] for plugin in call("plugins", "--kind", "store", "--json").json}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rnu",), "no such command 'rnu' - did you mean 'run'?"),
        (("runs", "lsit"), "no such command 'runs lsit' - did you mean 'list'?"),
        (("qqqq",), "no such command 'qqqq'"),
        (("--colour",), "no such option '--colour'"),
    ],
)
def test_an_unknown_command_says_what_was_meant(call: Call, arguments: tuple[str, ...], message: str) -> None:
    called = call(*arguments)

    assert called.code == 2
    assert called.error.splitlines()[0] == f"orchestra: {message}"


@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        (("runs", "list", "--zzz"), "orchestra: unknown option: --zzz"),
        (("runs", "list", "surplus"), "orchestra: unexpected argument 'surplus'"),
        (("runs", "list", "-n", "many"), "orchestra: invalid value 'many' for -n: it is a whole number"),
        (("runs", "list", "-n", "1.5"), "orchestra: invalid value '1.5' for -n: it is a whole number"),
        (("runs", "list", "-n"), "orchestra: -n needs a value"),
        (("runs", "list", "-n", "0"), "orchestra: invalid value 0 for --limit: it is 1 or more"),
    ],
)
def test_a_usage_error_names_the_help_to_try(call: Call, arguments: tuple[str, ...], first: str) -> None:
    called = call(*arguments)

    assert called.code == 2
    assert called.error.splitlines() == [first, "Try 'orchestra runs list --help' for more information."]


# Errors


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (UserError("no", "do"), 1, "orchestra: no\ndo\n"),
        (UsageError("how"), 2, "orchestra: how\nTry 'orchestra stop --help' for more information.\n"),
        (CheckFailed("bad"), 3, "orchestra: bad\n"),
        (Aborted("said no"), 4, ""),
        (StoreUnavailable("locked"), 75, "orchestra: locked\n"),
        (PermissionError(13, "Permission denied", "/x"), 1, "orchestra: Permission denied: '/x'\n"),
        (OSError(24, "Too many open files", "/x"), 75, "orchestra: Too many open files: '/x'\n"),
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(), 0, ""),
        (ExceptionGroup("several", [ExceptionGroup("inner", [UserError("deep")])]), 1, "orchestra: deep\n"),
        (BaseExceptionGroup("both", [UserError("first"), KeyboardInterrupt()]), 130, ""),
        (UserError("\x1b]0;title\x07\u202e"), 1, "orchestra: \\x1b]0;title\\x07\\u202e\n"),
    ],
)
def test_an_error_is_a_sentence_and_an_exit_code(
    call: Call, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, text: str
) -> None:
    def fail(*_: object) -> int:
        raise error

    monkeypatch.setattr(app, "run", fail)
    called = call("stop")

    assert (called.code, called.error) == (code, text)


def test_a_bug_of_ours_is_said_to_be_one(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "run", lambda _: 1 // 0)

    called = call("runs")
    assert called.code == 70
    assert called.error.startswith("orchestra: internal error: ZeroDivisionError: ")
    assert "Traceback" not in called.error
    assert "Traceback" in call("--debug", "runs").error


def test_with_json_an_error_is_one_object_on_standard_output(call: Call) -> None:
    called = call("runs", "info", "zz", "--json")

    assert called.code == 1
    assert called.json == {
        "error": {
            "kind": "RunNotFound",
            "message": "could not find a run matching 'zz'",
            "hint": "Try 'orchestra runs list' for a list of runs.",
            "exit_code": 1,
        }
    }
    assert called.error.startswith("orchestra: could not find")
    assert call("runs", "--json", "--bogus").json["error"]["exit_code"] == 2


def test_with_a_json_log_an_error_is_a_line_of_it(call: Call, tmp_path: Path) -> None:
    called = call("--log-format", "json", "--log-file", "log", "runs", "info", "zz")

    (line,) = called.error.splitlines()
    assert json.loads(line)["message"] == "could not find a run matching 'zz'"
    assert json.loads((tmp_path / "log").read_text())["level"] == "error"


def test_a_log_file_that_can_not_be_written_is_an_error(call: Call) -> None:
    called = call("--log-file", "no/such/place", "runs")

    assert called.code == 1
    assert (
        called.error
        == "orchestra: the log file can't be written: No such file or directory: 'no/such/place'\n"
    )


def test_a_home_that_can_not_be_one_is_an_error(call: Call, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert call("-H", "file", "runs").code == 1
    assert call("-H", "no/such/parent", "runs").code == 1


# Real processes


def test_a_reader_that_went_away_gets_no_traceback(shell: Shell) -> None:
    saved(shell.home, *some_runs(300))

    ran = shell.bash(f"{' '.join(shell.command('runs', '--all'))} | head -1; echo ${{PIPESTATUS[0]}}")

    assert ran.output.splitlines()[1:] == ["0"]


def test_a_closed_standard_output_harms_nothing(shell: Shell) -> None:
    saved(shell.home, ended())
    command = " ".join(shell.command("runs"))

    assert shell.bash(f"{command} >&-").output == ""
    assert len(shell.bash(command).output.splitlines()) == 1


@pytest.mark.parametrize("locale", ["C", "POSIX", "en_US.ISO-8859-1"])
def test_any_locale_can_show_any_run(shell: Shell, locale: str) -> None:
    saved(shell.home, ended(label="naïve 漢字 \udcff"))

    ran = shell.run("runs", LANG=locale, LC_ALL=locale, TERM="dumb", COLUMNS="200", NO_COLOR="1")

    assert ran.code == 0
    assert "naïve 漢字 \\udcff" in ran.output


def test_an_interrupted_command_ends_with_130_and_no_traceback(shell: Shell, tmp_path: Path) -> None:
    saved(shell.home, ended())
    process = shell.start("runs", "rm", stdin=subprocess.PIPE)
    assert process.stdout is not None
    while process.stdout.read(1) != "?":
        pass
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=20)

    assert process.returncode == 130
    assert "Traceback" not in output


def test_the_entry_point_of_the_distribution_is_there() -> None:
    declared = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["scripts"]

    point = importlib.metadata.EntryPoint("orchestra", declared["orchestra"], "console_scripts")
    assert callable(point.load())


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        (("--lr", "0.3"), "lr=0.3"),
        (("--lr=0.3", "other"), "lr=0.3"),
        (("--epochs", "-3"), "epochs=-3"),
        (("-x", "3"), "x=3"),
        (("--epochs", "--yes"), "epochs=VALUE"),
        (("--loud",), "loud=VALUE"),
    ],
)
def test_a_flag_that_is_given_like_an_option_is_told_how(
    call: Call, words: tuple[str, ...], flag: str
) -> None:
    refused = call("run", "train.py", *words)

    assert refused.code == 2
    assert refused.error.endswith(f"\nFlags of the operation are given without dashes: '{flag}'.\n")


def test_an_option_that_is_nearly_right_is_suggested(call: Call) -> None:
    assert "Did you mean --label?" in call("run", "train.py", "--lable", "x").error
    assert "without dashes" not in call("runs", "--lr", "3").error
    assert "Did you mean" not in call("archive", "old", "--delete").error


def test_who_asks_for_help_with_h_is_told_how_it_is_asked_for(call: Call) -> None:
    assert call("queue", "-h").error == "orchestra: unknown option: -h\nHelp is 'orchestra queue --help'.\n"
    assert call("-h").error == "orchestra: no such option '-h'\nHelp is 'orchestra --help'.\n"


def test_a_file_is_to_be_made_executable_only_if_it_can_be_executed(call: Call, tmp_path: Path) -> None:
    (tmp_path / "run.sh").write_text("#!/bin/sh\n")
    (tmp_path / "data.txt").write_text("1\n")
    assert "chmod +x run.sh" in call("run", "run.sh", "-y").error
    refused = call("run", "data.txt", "-y").error
    assert "cannot run 'data.txt'" in refused and "chmod" not in refused
