import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra.errors import UserError
from orchestra.model.decoding import decode
from orchestra.model.flags import Text
from orchestra.project.batch_files import check_target, read_batch_file, trials_as_text

PROPERTY = settings(derandomize=True, deadline=None, max_examples=60)


def rows_of(tmp_path: Path, name: str, text: str) -> list[dict[str, object]]:
    (tmp_path / name).write_text(text, "utf-8")
    return [row.values for row in read_batch_file(tmp_path / name, name)]


@pytest.mark.parametrize("name", ["t.csv", "t"])
def test_each_line_behind_the_header_is_a_trial(name: str, tmp_path: Path) -> None:
    rows = rows_of(tmp_path, name, '\ufeffx, y\n1,a b\n\n2\n"[3,4]",\n')
    assert rows == [{"x": "1", "y": "a b"}, {"x": "2"}, {"x": "[3,4]", "y": ""}]
    assert all(isinstance(value, Text) for row in rows for value in row.values())


def test_values_of_json_and_yaml_keep_their_types(tmp_path: Path) -> None:
    expected = [{"x": 1, "y": "1"}, {"x": [1, None]}]
    assert rows_of(tmp_path, "t.json", json.dumps(expected)) == expected
    assert rows_of(tmp_path, "t.yml", "- {x: 1, y: '1'}\n- x: [1, null]\n") == expected
    assert rows_of(tmp_path, "t.yaml", "x: 1\n") == [{"x": 1}]


def test_a_function_in_json_is_read_as_on_the_command_line(tmp_path: Path) -> None:
    (row,) = rows_of(tmp_path, "t.json", '[{"x": "range[1:3]", "y": "a[0]"}]')
    assert isinstance(row["x"], Text)
    assert not isinstance(row["y"], Text)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "", "cannot read trials for t.csv: there are none in it"),
        ("t.csv", "x,y\n", "cannot read trials for t.csv: there are none in it"),
        ("t.csv", "x,y\n1,2\n1,2,3\n", "t.csv:3: there are 3 values for 2 flags"),
        ("t.csv", "x,y,x\n1,2,3\n", "t.csv:1: flag 'x' has two columns"),
        ("t.csv", "x,\n1,2\n", "t.csv:1: a column has no name"),
        ("t.csv", 'x\n"1', "t.csv:2: unexpected end of data"),
        ("t.json", "", "cannot read trials for t.json: there are none in it"),
        ("t.json", "[\n{]", "t.json:2:2: Expecting property name enclosed in double quotes"),
        ("t.json", "3", "cannot read trials for t.json: invalid data type for trials: expected list or dict, got int"),
        ("t.yml", "- 3", "cannot read trials for t.yml: invalid data type for trial 3: expected dict"),
        ("t.yml", "[", "cannot read trials for t.yml: while parsing"),
        ("t.txt", "x", "cannot read trials for t.txt: unsupported extension"),
    ],
)  # fmt: skip
def test_a_file_that_lists_no_trials_is_told_with_the_place(
    name: str, text: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        rows_of(tmp_path, name, text)
    assert caught.value.message.startswith(message)


def test_a_file_that_is_not_there_or_is_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"batch file none\.csv does not exist"):
        read_batch_file(tmp_path / "none.csv", "none.csv")
    (tmp_path / "b").write_bytes(b"x\n\xff")
    with pytest.raises(UserError, match="cannot read trials for b: it is not UTF-8 at byte 2"):
        read_batch_file(tmp_path / "b", "b")
    with pytest.raises(UserError, match=r"cannot read trials for \.: Is a directory"):
        read_batch_file(tmp_path, ".")


def test_trials_are_saved_as_csv_or_json_and_nothing_else() -> None:
    assert [check_target(path) for path in ("a.csv", "b.JSON", "c")] == [".csv", ".json", ""]
    with pytest.raises(
        UserError, match="Unsupported extension '.yml' - use '.csv', '.json', or no extension"
    ):
        check_target("a.yml")


VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text("ab1,\"' é", max_size=4)
)


@PROPERTY
@given(st.lists(st.fixed_dictionaries({"x": VALUES, "y-z": VALUES}), min_size=1, max_size=4))
def test_saved_trials_are_read_as_the_same(
    tmp_path_factory: pytest.TempPathFactory, trials: list[dict[str, object]]
) -> None:
    folder = tmp_path_factory.mktemp("trials")
    (folder / "t.csv").write_text(trials_as_text(tuple(trials), ".csv"), "utf-8")
    (folder / "t.json").write_text(trials_as_text(tuple(trials), ".json"), "utf-8")
    read = [row.values for row in read_batch_file(folder / "t.csv", "t.csv")]
    assert [{name: decode(text) for name, text in row.items()} for row in read] == trials
    assert [row.values for row in read_batch_file(folder / "t.json", "t.json")] == trials
