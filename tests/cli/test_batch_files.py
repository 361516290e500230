"""Trials that are listed in files."""

from pathlib import Path

import pytest

from tests.cli.conftest import Call


@pytest.fixture(autouse=True)
def project(tmp_path: Path) -> None:
    (tmp_path / "echo.py").write_text("x = 1.0\ny = 2\nz = 'a'\nprint(x, y, z)\n")
    (tmp_path / "t.csv").write_text('x,y\n1,2\n3\n"[4,5]",6\n')
    (tmp_path / "one.json").write_text('{"x": 7, "z": "b"}')


def table(call: Call, *arguments: str) -> list[list[str]]:
    shown = call("run", "echo.py", *arguments, "--print-trials")
    assert (shown.code, shown.error) == (0, "")
    return [line.split() for line in shown.lines[1:]]


def test_rows_win_over_defaults_and_given_flags_over_rows(call: Call) -> None:
    assert table(call, "@t.csv") == [
        ["1", "1", "2", "a"],
        ["2", "3", "2", "a"],
        ["3", "4", "6", "a"],
        ["4", "5", "6", "a"],
    ]
    assert [row[2] for row in table(call, "@t.csv", "y=9")] == ["9"] * 4


def test_given_lists_multiply_each_row_and_files_follow_one_another(call: Call) -> None:
    assert [row[1:] for row in table(call, "@one.json", "@t.csv", "z=[p,q]")][:4] == [
        ["7", "2", "p"],
        ["7", "2", "q"],
        ["1", "2", "p"],
        ["1", "2", "q"],
    ]


def test_a_single_row_is_an_ordinary_run(call: Call) -> None:
    shown = call("run", "echo.py", "@one.json", "y=3", "--print-cmd")
    assert '{"x":7,"y":3,"z":"b"}' in shown.output
    assert call("run", "echo.py", "@one.json", "x=[1,2]", "--print-trials").lines[1:] == [
        "1  1  2  b",
        "2  2  2  b",
    ]


def test_a_search_beside_a_file_is_drawn_for_each_row(call: Call) -> None:
    rows = table(call, "@t.csv", "y=[1:9]")
    assert [row[1] for row in rows] == ["1", "3", "4", "5"]
    assert all(1 <= int(row[2]) <= 9 for row in rows)


def test_saved_trials_make_the_same_batch(call: Call, tmp_path: Path) -> None:
    expected = table(call, "@t.csv", "z=['1', 'b c']")
    for name, shown in {"s.csv": "s.csv", "s.json": "s.json", "s": "s", "my s.csv": "'my s.csv'"}.items():
        saved = call("run", "echo.py", "@t.csv", "z=['1', 'b c']", "--save-trials", name)
        assert (saved.code, saved.output) == (0, f"Saving trials to {shown}\n")
        assert table(call, f"@{name}") == expected


def test_the_printed_command_makes_the_same_batch(call: Call) -> None:
    assert call("run", "echo.py", "@t.csv", "z=q", "--print-cmd").lines[0] == (
        "orchestra run -y echo.py z=q @t.csv"
    )


def test_a_wrong_value_is_told_with_its_line(call: Call, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("x,q\n1,2\n3,4\n")
    (tmp_path / "type.csv").write_text("x\n1\nb\n")
    (tmp_path / "search.csv").write_text("x\n1\n[1:3]\n")
    assert call("run", "echo.py", "@bad.csv", "-y").error.startswith(
        "orchestra: bad.csv:2: unsupported flag 'q'"
    )
    assert call("run", "echo.py", "@type.csv", "-y").error.startswith(
        "orchestra: type.csv:3: invalid value b for x"
    )
    assert "search.csv:3: flag 'x' can't have a search" in call("run", "echo.py", "@search.csv", "-y").error


def test_a_required_flag_has_to_be_in_each_row(call: Call, tmp_path: Path) -> None:
    (tmp_path / "req.py").write_text(
        "import argparse\np = argparse.ArgumentParser()\np.add_argument('--lr', required=True)\n"
        "p.add_argument('--n')\np.parse_args()\n"
    )
    (tmp_path / "r.csv").write_text("n,lr\n1,2\n3\n")
    refused = call("run", "req.py", "@r.csv", "-y")
    assert refused.error == "orchestra: r.csv:3: the operation requires flag 'lr', which is missing\n"
    assert call("run", "req.py", "@r.csv", "lr=1", "--print-trials").code == 0


def test_what_makes_no_sense_together_is_refused(call: Call, tmp_path: Path) -> None:
    for arguments, message in (
        (("queue", "@t.csv"), "a queue takes no batch file"),
        (("echo.py", "@none.csv"), "batch file none.csv does not exist"),
        (("echo.py", "--save-trials", "a.csv"), "cannot save trials for a non-batch operation"),
        (
            ("echo.py", "@t.csv", "--save-trials", "a.txt"),
            "Unsupported extension '.txt' - use '.csv', '.json'",
        ),
        (("echo.py", "@t.csv", "--save-trials", "no/a.csv"), "cannot save trials to no/a.csv: No such file"),
    ):
        refused = call("run", *arguments, "-y")
        assert refused.code == 1
        assert refused.error.startswith(f"orchestra: {message}")
    assert not (tmp_path / "home").exists() or not list((tmp_path / "home").glob("runs/*"))
    assert call("run", "--restart", "1", "@t.csv", "-y").code == 2


def test_a_batch_of_a_file_keeps_its_rows_when_it_is_restarted_with_flags(call: Call) -> None:
    assert call("run", "echo.py", "@t.csv", "-y").output.splitlines() == ["1 2 a", "3 2 a", "4 6 a", "5 6 a"]
    (batch,) = [run["id"] for run in call("runs", "--json").json if run["kind"] == "batch"]
    again = call("run", "--restart", batch, "y=0", "-y")
    assert again.output.splitlines()[-4:] == ["1 0 a", "3 0 a", "4 0 a", "5 0 a"]


def test_an_optimizer_draws_the_rows_of_a_file_as_a_whole(call: Call) -> None:
    rows = table(call, "@t.csv", "-o", "random", "z=[0.0:1.0]", "-m", "40", "--random-seed", "1")

    assert len(rows) == 40
    assert {tuple(row[1:3]) for row in rows} == {("1", "2"), ("3", "2"), ("4", "6"), ("5", "6")}
    assert len({row[3] for row in rows}) == 40


def test_a_batch_of_a_file_with_an_optimizer_can_be_printed_restarted_and_copied(call: Call) -> None:
    options = ("@t.csv", "-o", "random", "-m", "6", "--random-seed", "3")
    printed = [" ".join(row[1:]) for row in table(call, *options)]

    assert call("run", "echo.py", *options, "-y").output.splitlines() == printed
    (batch,) = [run["id"] for run in call("runs", "--json").json if run["kind"] == "batch"]
    assert call("run", "--restart", batch, "-y").output.splitlines()[-6:] == printed
    copied = call("run", "--proto", batch, "y=0", "--random-seed", "3", "-y").output.splitlines()
    assert copied == [f"{line.split()[0]} 0 a" for line in printed]


def test_a_flag_in_a_file_is_not_searched_beyond_it(call: Call, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        "import argparse\np = argparse.ArgumentParser()\n"
        "p.add_argument('--x', type=int, choices=[1, 2, 3, 4], default=1)\n"
        "p.add_argument('--k', choices=['a', 'b'], default='a')\np.parse_args()\n"
    )
    (tmp_path / "x.csv").write_text("x\n2\n3\n")
    shown = call("run", "a.py", "@x.csv", "-o", "random", "-m", "30", "--random-seed", "1", "--print-trials")
    assert {tuple(line.split()[1:]) for line in shown.lines[1:]} == {(k, x) for k in "ab" for x in "23"}
