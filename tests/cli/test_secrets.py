"""Secrets reach the operation, and nothing that is written down, shown or logged has them."""

from __future__ import annotations

import json
import re
import stat
import time
from pathlib import Path

import pytest

from tests.process import Shell

PASSWORD = "hunter2-hunter2"
SCRIPT = """\
import argparse, os
p = argparse.ArgumentParser()
p.add_argument("--api-key", default="none")
p.add_argument("--url", default="x")
p.add_argument("--lr", type=float, default=0.1)
a = p.parse_args()
seen = [a.api_key, a.url, os.environ["FLAG_API_KEY"], os.environ.get("DB_PASSWORD"), os.environ.get("PLAIN")]
# Not by output: that is the operation's own.
with open(os.environ["SEEN"], "a") as file:
    print(*seen, file=file)
"""


class Secrets:
    """A project, what its operation was given, and who else knows."""

    def __init__(self, shell: Shell, folder: Path) -> None:
        self.shell = shell
        self.folder = folder
        # Beside the project, whose source is copied.
        self.seen_in = folder.with_name(f"{folder.name}.seen")
        shell.environment["SEEN"] = str(self.seen_in)
        (folder / "train.py").write_text(SCRIPT)

    def run(self, *words: str, code: int = 0, **environment: str) -> str:
        ended = self.shell.run("run", "-y", *words, "--log-file", str(self.folder / "log"), **environment)
        assert ended.code == code, ended.output
        return ended.output

    def seen(self) -> list[list[str]]:
        lines = self.seen_in.read_text().splitlines()
        self.seen_in.unlink()
        return [line.split(" ") for line in lines]

    def known_to(self, *secrets: str) -> set[str]:
        """The files with one of the secrets in them, but for those of the vault, which nobody else may read."""
        found: set[str] = set()
        for path in (*self.shell.home.rglob("*"), self.folder / "log"):
            content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            if not any(secret.encode() in content for secret in secrets):
                continue
            relative = str(path.relative_to(self.folder))
            if relative.startswith("home/secrets/"):
                assert stat.S_IMODE(path.stat().st_mode) == 0o600
                assert stat.S_IMODE((self.shell.home / "secrets").stat().st_mode) == 0o700
            else:
                found.add(relative)
        return found

    def listed(self) -> list[dict[str, object]]:
        return json.loads(self.shell.run("runs", "list", "--json").output)

    def vault(self) -> list[str]:
        return sorted(path.name for path in (self.shell.home / "secrets").glob("*/value"))


@pytest.fixture
def secrets(shell: Shell, tmp_path: Path) -> Secrets:
    return Secrets(shell, tmp_path)


GIVEN = (f"api-key={PASSWORD}", "url=postgres://me:pw9pw9@host/db")


def test_secret_flags_reach_the_operation_also_when_it_is_restarted_and_no_record_has_them(
    secrets: Secrets,
) -> None:
    output = secrets.run("train.py", *GIVEN)
    output += secrets.run("--restart", "1", "lr=0.5")
    output += secrets.run("--proto", "1", "lr=0.7")
    wanted = [PASSWORD, "postgres://me:pw9pw9@host/db", PASSWORD, "None", "None"]
    assert secrets.seen() == [wanted] * 3
    output += secrets.shell.run("runs", "info", "--json").output + secrets.shell.run("runs", "info").output
    output += secrets.shell.run("runs", "list").output + json.dumps(secrets.listed())

    assert secrets.known_to(PASSWORD, "pw9pw9") == set()
    assert PASSWORD not in output and "pw9pw9" not in output
    assert "api-key=redacted:" in output and "url=postgres://me:redacted:" in output


def test_a_token_is_known_by_its_shape_whatever_its_flag_is_called(secrets: Secrets) -> None:
    token = "ghp_" + "a1B2" * 9
    secrets.run(
        "train.py", f"url=x-{token}-y", "--label", f"with {token}", "--comment", token, "--tag", token
    )
    assert [seen[1] for seen in secrets.seen()] == [f"x-{token}-y"]
    assert secrets.known_to(token) == set()


def test_a_staged_run_is_started_with_its_secrets_by_whoever_starts_it(secrets: Secrets) -> None:
    output = secrets.run("train.py", *GIVEN, "--stage", "--run-dir", str(secrets.folder / "mine"))
    assert PASSWORD not in output and "redacted" not in output and "orchestra run -y --start" in output
    assert "redacted" not in (secrets.folder / "mine" / ".orchestra" / "ENV").read_text()
    assert secrets.known_to(PASSWORD, "pw9pw9") == set()
    secrets.run("queue", "run-once=yes")

    assert [seen[:2] for seen in secrets.seen()] == [[PASSWORD, "postgres://me:pw9pw9@host/db"]]
    assert secrets.known_to(PASSWORD, "pw9pw9") == set()
    assert b"pw9pw9" not in (secrets.folder / "mine" / ".orchestra" / "run.json").read_bytes()


def test_the_trials_of_a_batch_have_each_its_own_secret_also_when_the_batch_is_restarted(
    secrets: Secrets,
) -> None:
    secrets.run("train.py", "api-key=[first-of-them,second-of-them]")
    assert [seen[0] for seen in secrets.seen()] == ["first-of-them", "second-of-them"]
    (batch,) = [str(run["id"]) for run in secrets.listed() if str(run["operation"]).endswith("+")]
    secrets.run("--restart", batch)
    assert [seen[0] for seen in secrets.seen()] == ["first-of-them", "second-of-them"]
    assert secrets.known_to("first-of-them", "second-of-them") == set()


def test_a_step_is_given_the_secret_of_its_pipeline(secrets: Secrets) -> None:
    (secrets.folder / "orchestra.yml").write_text(
        "train: {main: train, flags-import: all}\n"
        "all:\n  flags: {token: none}\n  steps:\n    - run: train\n      flags: {api-key: '${token}'}\n"
    )
    secrets.run("all", f"token={PASSWORD}")
    assert [seen[0] for seen in secrets.seen()] == [PASSWORD]
    assert secrets.known_to(PASSWORD) == set()


def test_needed_knows_the_same_secret_again_and_another_one_apart(secrets: Secrets) -> None:
    secrets.run("train.py", *GIVEN)
    assert "Skipping" in secrets.run("train.py", *GIVEN, "--needed")
    assert "Skipping" in secrets.run("--restart", "1", f"api-key={PASSWORD}", "--needed")
    assert "Skipping" not in secrets.run("train.py", "api-key=another", GIVEN[1], "--needed")
    assert len(secrets.seen()) == 2


def test_secrets_of_a_project_s_env_are_given_and_not_recorded(secrets: Secrets) -> None:
    (secrets.folder / "orchestra.yml").write_text(
        "train:\n  main: train\n  flags-import: all\n"
        "  env: {DB_PASSWORD: swordfish, PLAIN: 'told-${lr}'}\n  env-secrets: [PLAIN]\n"
    )
    secrets.run("train")
    secrets.run("--restart", "1")
    assert [seen[3:] for seen in secrets.seen()] == [["swordfish", "told-0.1"]] * 2
    # The source is copied as it is, the project's file with it.
    copied = {f"home/runs/{run['id']}/orchestra.yml" for run in secrets.listed()}
    assert secrets.known_to("swordfish", "told-") == copied


def test_what_only_looks_like_a_secret_by_its_name_is_kept_in_sight(secrets: Secrets) -> None:
    (secrets.folder / "orchestra.yml").write_text(
        "train:\n  main: train\n  flags-import: all\n  flags:\n"
        "    api-key: {choices: [some, other], default: some}\n"
        "    key-file: {type: existing-path, default: train.py, arg-skip: yes}\n"
        "    max-tokens: {default: 10, arg-skip: yes}\n"
    )
    secrets.run("train", "api-key=other")
    secrets.run("--restart", "1", "lr=0.2")
    (run,) = secrets.listed()
    assert "redacted" not in json.dumps(run)
    assert not (secrets.shell.home / "secrets").exists()


def test_secrets_go_with_the_last_run_that_needs_them(secrets: Secrets) -> None:
    secrets.run("train.py", f"api-key={PASSWORD}")
    secrets.run("train.py", f"api-key={PASSWORD}", "lr=0.2")
    secrets.run("train.py", "api-key=another")
    assert len(secrets.vault()) == 2
    assert secrets.shell.run("runs", "delete", "-p", "-y", "1").code == 0
    assert len(secrets.vault()) == 1
    assert secrets.shell.run("runs", "delete", "-p", "-y", "1").code == 0
    assert len(secrets.vault()) == 1
    secrets.run("--restart", "1")
    assert [seen[0] for seen in secrets.seen()][-1] == PASSWORD
    assert secrets.shell.run("runs", "delete", "-y").code == 0
    assert len(secrets.vault()) == 1, "what is in the trash can be restored, with its secrets"
    assert secrets.shell.run("runs", "purge", "-y").code == 0
    assert secrets.vault() == []


def test_a_secret_that_is_not_there_is_an_error_that_asks_for_it(secrets: Secrets) -> None:
    secrets.run("train.py", f"api-key={PASSWORD}")
    (run,) = secrets.listed()
    for path in (secrets.shell.home / "secrets").glob("*/value"):
        path.unlink()
    output = secrets.run("--restart", "1", code=1)
    assert f"the secret value of 'api-key' that run {run['id']} was made with is not in this home" in output
    assert "api-key=VALUE" in output
    secrets.run("--restart", "1", "api-key=fresh-one")
    assert [seen[0] for seen in secrets.seen()] == [PASSWORD, "fresh-one"]


def test_orders_of_an_attempt_that_was_lost_or_whose_starter_was_killed_have_no_secrets_left(
    secrets: Secrets,
) -> None:
    for point in ("supervisor.exited", "run.ordered", "run.submitted"):
        secrets.shell.run("run", "-y", "train.py", *GIVEN, ORCHESTRA_FAILPOINT=f"{point}:kill9")
    deadline = time.monotonic() + 20
    while {str(run["status"]) for run in secrets.listed()} & {"running", "pending"}:
        assert time.monotonic() < deadline
        time.sleep(0.05)

    assert sorted(str(run["status"]) for run in secrets.listed()) == ["aborted", "completed", "lost"]
    assert secrets.known_to(PASSWORD, "pw9pw9") == set()


def test_the_traceback_that_is_shown_of_a_run_has_no_secrets_of_it(secrets: Secrets) -> None:
    (secrets.folder / "fail.py").write_text(
        "import argparse\np = argparse.ArgumentParser()\np.add_argument('--api-key')\n"
        "raise ValueError(f'refused {p.parse_args().api_key} today')\n"
    )
    secrets.run("fail.py", f"api-key={PASSWORD}", code=1)

    for options in ((), ("--json",)):
        told = secrets.shell.run("runs", "info", *options).output
        assert re.search(r"ValueError: refused redacted:[0-9a-f]{12} today", told), told
        assert PASSWORD not in told


def test_damaged_orders_do_not_hide_how_a_run_has_ended(secrets: Secrets) -> None:
    (secrets.folder / "spoil.py").write_text(
        "import argparse, os\np = argparse.ArgumentParser()\np.add_argument('--api-key')\np.parse_args()\n"
        "open(os.environ['RUN_DIR'] + '/.orchestra/attempts/1/orders', 'w').write('torn')\n"
    )
    ended = secrets.shell.run("run", "-y", "spoil.py", f"api-key={PASSWORD}")
    assert ended.code == 0
    assert [run["status"] for run in secrets.listed()] == ["completed"]


def test_a_secret_that_is_a_number_is_kept_apart_and_is_one_again_for_the_operation(
    shell: Shell, tmp_path: Path
) -> None:
    (tmp_path / "job.py").write_text("password = None\nprint(type(password).__name__, len(str(password)))\n")

    assert shell.run("run", "job.py", "password=83726153", "-y").output == "int 8\n"
    assert shell.run("run", "--restart", "1", "-y").output.endswith("int 8\n")
    assert shell.run("run", "job.py", "password=[83726153,83726154]", "-y").output.count("int 8\n") == 2

    holding = [path for path in shell.home.rglob("*") if path.is_file() and b"8372615" in path.read_bytes()]
    assert {path.relative_to(shell.home).parts[0] for path in holding} == {"secrets"}
    assert "8372615" not in shell.run("runs", "info", "1").output


def test_what_is_shown_before_a_run_has_no_secrets(secrets: Secrets) -> None:
    shell = secrets.shell
    (secrets.folder / "orchestra.yml").write_text(
        f"train:\n  main: train\n  flags-import: all\n  env: {{DB_PASSWORD: {PASSWORD}, PLAIN: seen}}\n"
    )
    shown = shell.run("run", "train", *GIVEN, stdin="n\n").output
    shown += shell.run("run", "train", f"api-key=[{PASSWORD},b{PASSWORD}]", stdin="n\n").output
    commands = ("train", *GIVEN), ("train", f"api-key=[{PASSWORD},b{PASSWORD}]", "lr=[1,2]")
    printed = "".join(shell.run("run", *given, "--print-cmd").output for given in commands)
    printed += shell.run("run", *commands[1], "--print-trials").output
    environment = "".join(shell.run("run", *given, "--print-env").output for given in commands)
    secrets.run("train", *GIVEN)
    printed += shell.run("run", "--restart", "1", f"api-key=c{PASSWORD}", "--print-cmd").output
    shown += shell.run("run", "--restart", "1", f"api-key=c{PASSWORD}", stdin="n\n").output

    assert PASSWORD not in shown + printed + environment and "pw9pw9" not in shown + printed + environment
    assert "  api-key: [redacted]\n" in shown and "  url: postgres://me:[redacted]@host/db\n" in shown
    assert "--api-key '[redacted]'" in printed and "--lr 2" in printed
    assert "DB_PASSWORD=[redacted]\n" in environment and "PLAIN=seen\n" in environment
    assert "FLAG_API_KEY=[redacted]\n" in environment


def test_trials_are_saved_with_their_secrets_for_they_are_input(secrets: Secrets) -> None:
    secrets.shell.run("run", "train.py", f"api-key=[{PASSWORD},x]", "--save-trials", "trials.csv")

    assert PASSWORD in (secrets.folder / "trials.csv").read_text()
