"""What operations of a project need, and who provides it."""

from __future__ import annotations

import sys
from base64 import b64encode
from pathlib import Path

from tests.builtin.rude_server import rude_server
from tests.process import Shell


def test_a_module_is_required_of_the_interpreter_that_runs_the_operation(
    shell: Shell, tmp_path: Path
) -> None:
    other = tmp_path / "python3.99"
    other.write_text(f"#!/bin/sh\nPYTHONPATH='{tmp_path}/only' exec '{sys.executable}' \"$@\"\n")
    other.chmod(0o755)
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "rare_module.py").write_text("")
    (tmp_path / "use.py").write_text("import rare_module\nprint('used')\n")
    (tmp_path / "orchestra.yml").write_text(
        f"named: {{exec: '{other} use.py', requires: [{{module: rare_module}}]}}\n"
        "chosen: {main: use, requires: [{module: rare_module}]}\n"
    )

    assert shell.run("run", "named", "-y").output.endswith("used\n")
    assert shell.run("run", "chosen", "-y").code == 1
    assert shell.run("run", "chosen", "-y", ORCHESTRA_PYTHON=str(other)).output.endswith("used\n")


def test_what_becomes_of_a_source_is_told_without_the_secrets_of_its_address(
    shell: Shell, tmp_path: Path
) -> None:
    url = "http://me:s3cr3t@127.0.0.1:1/x?sig=s1gn4tur3"
    (tmp_path / "use.py").write_text("")
    (tmp_path / "orchestra.yml").write_text(
        f"use: {{main: use, sourcecode: no, requires: [{{url: '{url}'}}, {{sources: [{{url: '{url}'}}]}}]}}\n"
    )

    failed = shell.run("run", "use", "-y", "--run-id", "r")

    assert failed.code == 1
    assert "url:http://***@127.0.0.1:1/x?sig=***" in failed.output
    written = "".join(
        (shell.home / "runs/r/.orchestra" / name).read_text() for name in ("events.jsonl", "attempts/1/exit")
    )
    shown = shell.run("runs", "info", "r", "--json", "--deps").output
    for text in (failed.output, written, shown):
        assert "could not resolve" in text
        assert "s3cr3t" not in text and "s1gn4tur3" not in text


def test_the_secrets_of_an_address_are_kept_apart_and_found_again(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "use.py").write_text("print(open('x.csv').read())\n")
    path = "/x.csv?sig=s1gn4tur3"
    with rude_server() as server:
        server.answers[path] = lambda asked: asked.whole(b"data")
        url = server.url.replace("http://", "http://t0k3n@") + path
        staged = shell.run("run", "use.py", "-y", "--stage", "--run-id", "r", "--dep", url, NO_PROXY="*")
        started = shell.run("run", "--start", "r", "-y", NO_PROXY="*")

    assert (staged.code, started.code, "data\n" in started.output) == (0, 0, True), staged.output
    login = "Basic " + b64encode(b"t0k3n:").decode()
    assert {(one.path, one.headers["authorization"]) for one in server.asked} == {(path, login)}
    kept = [path for path in shell.home.rglob("*") if path.is_file()]
    holding = {path.relative_to(shell.home).parts[0] for path in kept if b"t0k3n" in path.read_bytes()}
    holding |= {path.relative_to(shell.home).parts[0] for path in kept if b"s1gn4" in path.read_bytes()}
    assert holding == {"secrets"}
