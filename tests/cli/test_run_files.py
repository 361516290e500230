"""`ls`, `cat` and `open`: the files of a run, which are all that they reach."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from orchestra.cli import open_run
from orchestra.model.operation import SourceCode
from orchestra.model.run import ResolvedSource
from orchestra.testing.builders import an_operation
from orchestra.workspace.manifest import ManifestEntry, render, write_manifest
from tests.cli.conftest import Call
from tests.process import Shell
from tests.saved_runs import ended, saved


@pytest.fixture
def directory(home: Path) -> Path:
    """The directory of a run with its source, what it needed, and what it made."""
    run = ended(resolved=(ResolvedSource(source="file:data", paths=("data",), origin="/data"),))
    saved(home, run)
    directory = home / "runs" / run.id
    for name in ("train.py", ".flake8", "data/part", "out/f10.txt", "out/f9.txt", ".hidden/deep"):
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    copied = ("train.py", ".flake8")
    entries = [ManifestEntry(kind="s", path=name, digest="", origin=f"/p/{name}") for name in copied]
    write_manifest(directory, render(entries))
    return directory


# ls


@pytest.mark.parametrize(
    ("options", "listed"),
    [
        ((), ["data/", "data/part", "out/", "out/f9.txt", "out/f10.txt", "train.py"]),
        (("-s",), [".flake8", "train.py"]),
        (("-d",), ["data/", "data/part"]),
        (("-g",), ["out/f9.txt", "out/f10.txt"]),
        (("-sg",), ["out/f9.txt", "out/f10.txt", "train.py"]),
        (("-p", "out"), ["out/", "out/f9.txt", "out/f10.txt"]),
        (("-p", "./out/"), ["out/", "out/f9.txt", "out/f10.txt"]),
        (("-p", "*/f1*"), ["out/f10.txt"]),
        (("-p", "*.nothing"), []),
        (("-p", ".hidden"), [".hidden/", ".hidden/deep"]),
        (("-p", ".h*"), [".hidden/", ".hidden/deep"]),
        (("-g", "-p", "*.py"), []),
    ],
)
def test_ls_lists_what_is_asked_for(
    call: Call, directory: Path, options: tuple[str, ...], listed: list[str]
) -> None:
    assert call("ls", *options).lines == [f"{directory}:", *(f"  {name}" for name in listed)]
    assert call("ls", "-n", *options).lines == listed
    assert call("ls", "1", "-f", *options).lines == [f"{directory}/{name}" for name in listed]


@pytest.mark.parametrize(
    ("words", "code"), [(("ls", "1", "*.txt"), 2), (("ls", "*.txt"), 1), (("cat", "*.txt", "-p", "x"), 1)]
)
def test_a_file_in_the_place_of_a_run_is_told_where_it_belongs(
    call: Call, directory: Path, words: tuple[str, ...], code: int
) -> None:
    refused = call(*words)

    hint = f"A file of a run is named with --path: orchestra {words[0]} RUN --path '*.txt'"
    assert (refused.code, hint in refused.error) == (code, True)


def test_ls_shows_hidden_files_and_our_own_only_with_all(call: Call, directory: Path) -> None:
    listed = call("ls", "-an").lines

    assert listed[:3] == [".flake8", ".hidden/", ".hidden/deep"]
    assert ".orchestra/run.json" in listed
    assert ".orchestra/run.json" not in call("ls", "-agn").lines


def test_ls_as_json_tells_what_files_are(call: Call, directory: Path) -> None:
    (directory / "link").symlink_to("nowhere")

    told = call("ls", "--json", "--all").json

    kinds = {file["path"]: (file["type"], file["kind"], file["size"], file["link"]) for file in told["files"]}
    assert (told["id"], told["run_dir"]) == (directory.name, str(directory))
    assert kinds["train.py"] == ("file", "source", 8, None)
    assert kinds["data"] == ("directory", "dependency", None, None)
    assert kinds["out/f9.txt"] == ("file", "generated", 10, None)
    assert kinds["link"] == ("other", "generated", None, "nowhere")
    assert kinds[".orchestra/run.json"][1] == "internal"


def test_ls_enters_links_where_it_may_and_never_in_a_circle(
    call: Call, directory: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret").touch()
    (directory / "away").symlink_to(tmp_path / "elsewhere")
    (directory / "circle").symlink_to(".")
    (directory / "same").symlink_to("out")

    assert "same/f9.txt" not in call("ls", "-n").lines
    followed = call("ls", "-nL").lines
    assert "same/f9.txt" in followed and "circle/out/f9.txt" in followed
    assert "away/" in followed and not any("secret" in name for name in followed)
    assert not any(name.startswith("circle/circle/o") for name in followed)


def test_ls_lists_folders_however_deep_they_are(call: Call, directory: Path) -> None:
    depths = range(2, 2 * 1200 + 1, 2)
    deepest = "d/" * 1200
    try:
        for length in depths:
            os.mkdir(directory / deepest[:length])

        assert call("ls", "-n", "-p", "d").lines[-1] == deepest
    finally:
        for length in reversed(depths):
            os.rmdir(directory / deepest[:length])


def test_ls_stays_in_the_run(call: Call, directory: Path) -> None:
    for path in ("..", "../x", "/etc", "out/../../x"):
        refused = call("ls", "-p", path)
        assert (refused.code, refused.lines) == (1, [])
        assert refused.error.startswith(f"orchestra: '{path}' is outside of the run's directory\n")
    assert call("ls", "-p", "nope") == (1, "", "orchestra: nope does not exist\n")


def test_ls_shows_sizes_for_people(call: Call, directory: Path) -> None:
    (directory / "out" / "f10.txt").write_bytes(b"x" * 4600)

    assert call("ls", "-gh").lines[1:] == ["    10  out/f9.txt", "  4.5K  out/f10.txt"]


def test_names_can_not_drive_a_terminal_and_reach_programs_as_they_are(call: Call, directory: Path) -> None:
    (directory / "a\x1b[2J\nb").touch()

    assert call("ls", "-p", "a*").lines[1] == "  a\\x1b[2J\\nb"
    assert call("ls", "-n", "-p", "a*").output == "a\x1b[2J\nb\n"


def test_paths_of_source_begin_where_it_was_copied(call: Call, home: Path) -> None:
    run = ended(operation=an_operation(sourcecode=SourceCode(dest="src")))
    saved(home, run)
    directory = home / "runs" / run.id
    (directory / "src").mkdir()
    (directory / "src" / "a.py").write_text("a")
    entry = ManifestEntry(kind="s", path="src/a.py", digest="", origin="/p/a.py")
    write_manifest(directory, render([entry]))

    assert call("ls", "-sn", "-p", "a.py").lines == ["src/a.py"]
    assert call("cat", "-s", "-p", "a.py").output == "a"


# cat


def test_cat_shows_several_files_or_none(call: Call, directory: Path) -> None:
    assert call("cat", "-p", "out/f9.txt", "-p", "train.py").output == "out/f9.txttrain.py"
    assert call("cat", "-p", "train.py", "-p", "nope") == (1, "", "orchestra: nope does not exist\n")


def test_a_pager_is_for_a_terminal(call: Call, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGER", "no-such-pager")

    assert call("cat", "--page", "-p", "train.py").output == "train.py"


def test_what_is_paged_can_not_drive_the_terminal(
    call: Call, directory: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (directory / "evil").write_bytes(b"\x1b]0;EVIL\x07\xff")
    monkeypatch.setattr(os, "isatty", lambda descriptor: True)
    monkeypatch.setenv("PAGER", f"sh -c 'cat > {tmp_path}/paged'")

    assert call("cat", "-pa", "-p", "evil").code == 0
    assert (tmp_path / "paged").read_text() == "\\x1b]0;EVIL\\x07\ufffd"
    for pager, reason in (("no-such-pager", "No such file or directory"), (" ", "it names no command")):
        monkeypatch.setenv("PAGER", pager)
        assert call("cat", "-pa", "-p", "evil").error == (
            f"orchestra: the pager '{pager}' can't be started: {reason}\n"
            "Name another one in PAGER, or leave out --page.\n"
        )


# open


@pytest.fixture
def opener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file into which the system's opener writes what it was given."""
    folder, told = tmp_path / "bin", tmp_path / "told"
    folder.mkdir()
    program = folder / open_run.OPENERS[sys.platform]
    program.write_text(f'#!/bin/sh\nprintf %s "$*" > {told}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("DISPLAY", ":0")
    return told


def test_open_leaves_the_choice_to_the_system(call: Call, directory: Path, opener: Path) -> None:
    (directory / "loss.png").touch()

    for path, options in (
        (directory, ()),
        (directory / "out", ("-p", "out")),
        (directory / "loss.png", ("-p", "loss.png")),
    ):
        assert call("open", *options).code == 0
        assert opener.read_text() == str(path)


@pytest.mark.parametrize(
    ("name", "value", "missing"),
    [
        ("PATH", "/nowhere", "'xdg-open' is not installed"),
        ("DISPLAY", "", "there is no desktop (DISPLAY and WAYLAND_DISPLAY are not set)"),
    ],
)
def test_without_a_desktop_the_path_is_named_and_what_to_do(
    call: Call,
    directory: Path,
    opener: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    missing: str,
) -> None:
    for variable in ("WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(open_run, "OPENERS", {sys.platform: "xdg-open"})
    monkeypatch.setenv(name, value)

    refused = call("open")

    assert refused.code == 1 and not opener.exists()
    assert refused.error == (
        f"orchestra: there is nothing here that opens '{directory}': {missing}\n"
        "Name what opens it: --cmd COMMAND.\n"
    )


@pytest.mark.parametrize("name", ["train.py", "page.html", "x.desktop", "run", "a.svg", "tool.txt"])
def test_what_may_run_is_opened_only_by_a_command_that_is_named(
    call: Call, directory: Path, opener: Path, name: str
) -> None:
    (directory / name).touch()
    (directory / "tool.txt").touch()
    (directory / "tool.txt").chmod(0o755)

    refused = call("open", "-p", name)

    assert refused.error == (
        f"orchestra: '{name}' may do more than be shown when it is opened\n"
        "Name what opens it: --cmd COMMAND.\n"
    )
    assert refused.code == 1 and not opener.exists()
    assert call("open", "-p", name, "-c", "echo -n").output == str(directory / name)


def test_open_ends_with_the_code_of_the_command(call: Call, directory: Path) -> None:
    assert call("open", "-c", "sh -c 'exit 3'").code == 3
    assert call("open", "-c", "sh -c 'kill -9 $$'").code == 247
    assert call("open", "-c", "no-such-command").error == (
        "orchestra: 'no-such-command' can't be started: No such file or directory\n"
    )
    assert call("open", "-c", "'").code == 2


def test_a_shell_begins_in_the_folder_but_is_never_one_that_lies_there(call: Call, directory: Path) -> None:
    (directory / "out" / "sh2").write_text("#!/bin/sh\necho pwned\n")
    (directory / "out" / "sh2").chmod(0o755)

    started = call("open", "-p", "out/f9.txt", "--shell-cmd", "sh -c pwd")

    assert started.output == f"{directory}/out\n"
    assert started.error.startswith(f"Running a shell in {directory}/out\n")
    for shell in ("./sh2", "sh2"):
        assert call("open", "-p", "out", "--shell-cmd", shell).error.startswith(
            f"orchestra: there is no shell '{shell}'\n"
        )


def test_open_never_leaves_the_run(call: Call, directory: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").touch()
    (directory / "link.txt").symlink_to(tmp_path / "secret.txt")

    for path in ("link.txt", "../..", "/etc"):
        assert call("open", "-p", path, "-c", "echo").error == (
            f"orchestra: '{path}' is outside of the run's directory\n"
        )
    assert call("open", "-p", "nope", "-c", "echo").error == "orchestra: nope does not exist\n"
    assert call("open", "--output", "-c", "echo").error.endswith(" has printed nothing\n")


@pytest.mark.parametrize(
    "options", [("-c", "x", "--shell"), ("--shell", "--shell-cmd", "x"), ("-O", "-p", "x"), ("-O", "-s")]
)
def test_options_of_open_that_exclude_each_other_are_refused(call: Call, options: tuple[str, ...]) -> None:
    assert call("open", *options).code == 2


def test_open_shows_what_a_run_printed(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "say.py").write_text("print('hello')\n")
    shell.run("run", "say.py", "-y")

    assert shell.run("open", "--output", "--cmd", "cat").output == "hello\n"
