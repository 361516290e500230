from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra.model import redaction
from orchestra.workspace import env_file

names = st.from_regex(r"FLAG_[A-Z0-9_]{1,8}|[a-z]{1,8}", fullmatch=True)
values = st.binary(max_size=30).map(lambda data: os.fsdecode(data.translate(None, b"\0"))) | st.text(
    "'\"$`\\\n !*~#;&|é", max_size=20
)


@pytest.mark.parametrize("shell", ["sh", "bash"])
@settings(max_examples=40, deadline=None)
@given(added=st.dictionaries(names, values, max_size=6))
def test_a_shell_that_reads_the_file_gets_the_same_values(
    tmp_path_factory: pytest.TempPathFactory, shell: str, added: dict[str, str]
) -> None:
    added = {name: value for name, value in added.items() if not redaction.is_secret(name, value)}
    path = env_file.write(tmp_path_factory.mktemp("run"), {}, added)
    done = subprocess.run(
        [shell, "-c", '. "$0" && env -0', str(path)], env={"PATH": os.environ["PATH"]}, capture_output=True
    )
    got = dict(entry.split(b"=", 1) for entry in done.stdout.split(b"\0") if entry)
    assert {name: got.get(os.fsencode(name)) for name in added} == {
        name: os.fsencode(value) for name, value in added.items()
    }, done.stderr


def test_the_file_is_private_and_sorted(tmp_path: Path) -> None:
    path = env_file.write(tmp_path, {"PATH": "/bin"}, {"RUN_ID": "x", "FLAG_MSG": "it's"})
    assert path == tmp_path / ".orchestra" / "ENV"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == ("export FLAG_MSG='it'\\''s'\nexport PATH='/bin'\nexport RUN_ID='x'\n")


def test_what_is_inherited_is_kept_only_if_it_is_on_the_list() -> None:
    inherited = {
        "PATH": "/bin",
        "LC_ALL": "C",
        "CUDA_VISIBLE_DEVICES": "0",
        "OMP_NUM_THREADS": "4",
        "PYTHONPATH": "/x",
        "SLURM_JOB_ID": "12",
        "SLURM_ARRAY_TASK_ID": "3",
        "SLURM_JWT": "x",
        "HOME": "/home/me",
        "ORCHESTRA_HOME": "/h",
        "ORCHESTRA_STORE": "postgres://db",
        "ORCHESTRA_ATTEMPT": "a.1.n",
        "PYTHON_TOKEN": "abc",
        "MY_SETTING": "x",
    }
    kept = {"PATH", "LC_ALL", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "PYTHONPATH", "SLURM_JOB_ID"}
    assert set(redaction.allowed_environment(inherited)) == kept | {"SLURM_ARRAY_TASK_ID", "ORCHESTRA_HOME"}


def test_flags_of_the_run_that_stages_another_are_not_passed_on() -> None:
    assert env_file.render({"FLAG_OLD": "1", "PATH": "/"}, {"FLAG_NEW": "2"}) == (
        b"export FLAG_NEW='2'\nexport PATH='/'\n"
    )


def test_what_was_asked_for_is_kept_unless_it_is_a_secret_or_no_shell_name() -> None:
    added = {"MY_SETTING": "x", "API_KEY": "hunter2hunter2", "no-name": "x", "": "y", "A\nB": "z", "N": "\0"}
    assert env_file.render({}, added) == b"export MY_SETTING='x'\n"


def test_what_the_project_calls_a_secret_is_left_out() -> None:
    assert env_file.render({"PATH": "/bin", "CUDA_X": "1"}, {"MY": "x", "A": "b"}, ("MY", "CUDA_X")) == (
        b"export A='b'\nexport PATH='/bin'\n"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_KEY", "abc"),
        ("apiKey", "abc"),
        ("DB_PASSWORD", "abc"),
        ("DBPASSWORD", "abc"),
        ("GITHUB_TOKEN", "abc"),
        ("GITHUBTOKEN", "abc"),
        ("MYSQL_PWD", "abc"),
        ("AWS_SECRET_ACCESS_KEY", "abc"),
        ("SESSION_COOKIE", "abc"),
        ("SENTRY_DSN", "abc"),
        ("X_AUTH", "abc"),
        ("GOOGLE_CREDENTIALS", "abc"),
        ("FLAG_TOKEN", "abc"),
        ("X", "AKIAABCDEFGHIJKLMNOP"),
        ("X", "ghp_" + "a" * 36),
        ("X", "sk-" + "a1" * 12),
        ("X", "eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJ"),
        ("X", "-----BEGIN RSA PRIVATE KEY-----\nabc"),
        ("X", "postgres://me:hunter2@db/x"),
        ("X", "https://:hunter2@host"),
    ],
)
def test_secrets_are_known_by_name_or_shape(name: str, value: str) -> None:
    assert redaction.is_secret(name, value)
    assert env_file.render({name: value}, {name: value}) == b""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FLAG_MAX_TOKENS", "512"),
        ("FLAG_TOKENIZER", "bert"),
        ("FLAG_KEYS", "a"),
        ("FLAG_MONKEY", "a"),
        ("FLAG_AUTHOR", "me"),
        ("FLAG_BYPASS", "x"),
        ("FLAG_PASS", "2"),
        ("FLAG_USE_AUTH", "true"),
        ("PWD", "/home"),
        ("FLAG_URL", "https://host:80/a@b"),
        ("FLAG_NAME", "task-sk-learn"),
        ("FLAG_EMPTY_TOKEN", ""),
        ("FLAG_LR", "1e-3"),
    ],
)
def test_what_only_resembles_a_secret_is_kept(name: str, value: str) -> None:
    assert not redaction.is_secret(name, value)
