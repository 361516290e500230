"""Runs what a document shows: every command in a real shell, in its order, and compares what it prints.

    ```console          commands after ``$ `` (``> `` goes on with one), each followed by what it prints
    ```LANGUAGE         with a first line like ``# train.py``: a file, written when it is reached

In shown output a line ``...`` stands for any lines. Ids, times, pids and paths of the machine are compared by
their form alone.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent
FENCE = re.compile(r"^```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"# (?P<name>[\w./-]+\.\w+)\n")
FORMS = (
    (re.compile(r"\b[0-9a-f]{32}\b"), "<id>"),
    (re.compile(r"(?<![\w.])[0-9a-f]{8}(?![\w.])"), "<short id>"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), "<time>"),
    (re.compile(r"\b1[789]\d{14}\b"), "<microseconds>"),
    (re.compile(r"(?<=\")[0-9a-f]{16}(?=\")"), "<nonce>"),
    (re.compile(r"\(pid \d+\)"), "(pid <pid>)"),
    (re.compile(r"(?<=mean distance: )\d+\.\d+"), "<distance>"),
    (re.compile(r"  +"), "  "),
    (re.compile(r" +$", re.MULTILINE), ""),
)
SHOWN_HOME, SHOWN_CWD = "/home/ada", "/home/ada/orchestra"
"""What stands in documents for the home directory, and for where the shell begins."""


class Block(NamedTuple):
    """A fenced block of a document."""

    language: str
    text: str
    line: int
    """Where it begins."""


class Command(NamedTuple):
    """A command that a document shows, and what it says that is printed."""

    text: str
    output: str
    line: int


def blocks_of(document: Path, *, section: str | None = None) -> list[Block]:
    """The fenced blocks of a document, or of its section under the heading ``## SECTION``."""
    whole = document.read_text()
    begin, end = 0, len(whole)
    if section is not None:
        begin = whole.index(f"\n## {section}\n")
        following = whole.find("\n## ", begin + 1)
        end = len(whole) if following == -1 else following
    return [
        Block(match["language"], match["text"], whole.count("\n", 0, match.start()) + 1)
        for match in FENCE.finditer(whole, begin, end)
    ]


def commands_of(block: Block) -> list[Command]:
    """The commands of a ``console`` block."""
    commands: list[Command] = []
    for number, line in enumerate(block.text.splitlines(keepends=True), block.line + 1):
        if line.startswith("$ "):
            commands.append(Command(line[2:], "", number))
        elif line.startswith("> ") and not commands[-1].output:
            commands[-1] = commands[-1]._replace(text=commands[-1].text + line[2:])
        else:
            commands[-1] = commands[-1]._replace(output=commands[-1].output + line)
    return commands


class Shell:
    """One bash for all commands, so that ``cd`` and variables stay; both streams in one pipe."""

    def __init__(self, cwd: Path, home: Path, environment: Mapping[str, str] | None = None) -> None:
        self.cwd = cwd
        self.home = home
        self.files = cwd
        """Where the files are written that a document shows."""
        tools = home.parent / f"{home.name}-bin"
        tools.mkdir(exist_ok=True)
        self._install(tools)
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("ORCHESTRA_") and name != "COLUMNS"
        }
        self._process = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=cwd,
            env={
                **kept,
                "HOME": str(home),
                "PATH": f"{tools}:{kept['PATH']}",
                "TZ": "UTC",
                **(environment or {}),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    @staticmethod
    def _install(tools: Path) -> None:
        """The commands ``python`` and ``orchestra`` of the interpreter that runs the tests."""
        for name, command in (("python", ""), ("orchestra", " -m orchestra")):
            file = tools / name
            path = f'PYTHONPATH="{ROOT}${{PYTHONPATH:+:$PYTHONPATH}}" '
            file.write_text(f'#!/bin/sh\n{path}exec "{sys.executable}"{command} "$@"\n')
            file.chmod(0o755)

    def run(self, command: str) -> tuple[int, str]:
        """The exit code and what was printed."""
        assert self._process.stdin is not None and self._process.stdout is not None
        mark = f"--end-{os.urandom(8).hex()}--"
        script = f"{{ {command.rstrip()}\n}} </dev/null\nprintf '%s%d\\n' {mark} $?\n"
        self._process.stdin.write(script.encode())
        self._process.stdin.flush()
        printed = b""
        while (line := self._process.stdout.readline()) and mark.encode() not in line:
            printed += line
        # A last line without an end of line shares its line with the mark.
        last, _, code = line.decode().partition(mark)
        text = printed.decode() + (f"{last}\n" if last else "")
        text = text.replace(str(self.cwd), SHOWN_CWD).replace(str(self.home), SHOWN_HOME)
        return int(code or 255), text.replace(sys.executable, f"{SHOWN_CWD}/.venv/bin/python")

    def close(self) -> None:
        """End the shell."""
        self._process.kill()
        self._process.communicate()


def play(blocks: list[Block], shell: Shell) -> int:
    """Go through ``blocks`` as a reader would; the number of commands that ran.

    Raises:
        AssertionError: a command failed, or printed something else than the document shows.
    """
    count = 0
    for block in blocks:
        if block.language != "console":
            write_file(block, shell)
            continue
        for command in commands_of(block):
            check(command, *shell.run(command.text))
            count += 1
    return count


def write_file(block: Block, shell: Shell) -> None:
    """Write the file that ``block`` is, if it is one."""
    if named := NAMED.match(block.text):
        (shell.files / named["name"]).write_text(block.text.removeprefix(named[0]))


def check(command: Command, code: int, printed: str) -> None:
    """Compare what a command printed with what the document shows."""
    assert matches(command.output, printed), (
        f"line {command.line}: $ {command.text}prints (exit code {code})\n{printed}"
        f"\nbut the document shows\n{command.output}"
    )
    expects_failure = "orchestra: " in command.output
    assert (code != 0) == expects_failure, (
        f"line {command.line}: $ {command.text}exited with {code}:\n{printed}"
    )


def matches(shown: str, printed: str) -> bool:
    """Whether ``printed`` is what a document shows, but for ids, times and the like."""
    parts = [normalised(part) for part in re.split(r"^\.\.\.\n", shown, flags=re.MULTILINE)]
    pattern = r"(?:.*\n)*".join(re.escape(part) for part in parts)
    return re.fullmatch(pattern, normalised(printed)) is not None


def normalised(text: str) -> str:
    """``text`` with all that differs from run to run replaced by its kind."""
    for form, kind in FORMS:
        text = form.sub(kind, text)
    return text


def corrected(text: str, blocks: list[Block], shell: Shell) -> str:
    """``text`` with what the commands of ``blocks`` print now, where that differs by more than ids and times."""
    for block in blocks:
        if block.language == "console":
            console = ""
            for command in commands_of(block):
                _, printed = shell.run(command.text)
                shown = command.output if matches(command.output, printed) else printed
                console += "$ " + "> ".join(command.text.splitlines(keepends=True)) + shown
            text = text.replace(block.text, console, 1)
        else:
            write_file(block, shell)
    return text
