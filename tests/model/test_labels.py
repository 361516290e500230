import pytest

from orchestra.model.flags import default_label, format_flags, render_label, run_label, trial_flags
from orchestra.model.labels import shorten_path, trial_label

FLAGS = {"b": None, "msg": "a b", "a": 1, "on": True, "lr": 0.123456789}


def test_a_listing_shows_all_flags_by_name() -> None:
    assert format_flags(FLAGS) == "a=1 b=null lr=0.123456789 msg='a b' on=yes"
    assert (
        format_flags({"run-once": True, "poll-interval": 10, "ignore-running": False, "gpus": None})
        == "gpus=null ignore-running=no poll-interval=10 run-once=yes"
    )


def test_a_log_line_shows_all_flags_but_nulls() -> None:
    assert trial_flags({"msg": "a", "loud": False, "n": None}) == "loud=no, msg=a"
    assert trial_flags({"msg": "hi 1"}) == "msg='hi 1'"


def test_a_label_cuts_decimals_and_leaves_nulls_out() -> None:
    assert default_label(FLAGS) == "a=1 lr=0.12345 msg='a b' on=yes"
    assert default_label({"x": 1.23456789e-7, "y": 1e-06, "z": 2.0}) == "x=1.23456e-07 y=1e-06 z=2.0"


def test_a_label_shortens_ids_of_runs_and_paths_that_exist() -> None:
    path = "/data/projects/images/train/set.csv"
    flags = {"data": path, "up": "0123456789abcdef0123456789abcdef"}
    assert default_label(flags) == f"data={path} up=01234567"
    assert default_label(flags, lambda value: value == path) == "data=/data/…/set.csv up=01234567"


@pytest.mark.parametrize(
    ("path", "shortened"),
    [
        ("a/b.csv", "a/b.csv"),
        ("/data/projects/images/set.csv", "/data/…/set.csv"),
        ("data/projects/images/s.csv", "data/…/images/s.csv"),
        ("one-very-long-name-without-folders.csv", "one-very-long-name-without-folders.csv"),
        ("/one-very-long-name-without-folders.csv", "/one-very-long-name-without-folders.csv"),
    ],
)
def test_a_path_keeps_its_ends(path: str, shortened: str) -> None:
    assert shorten_path(path) == shortened


@pytest.mark.parametrize(
    ("template", "label"),
    [
        ("plain", "plain"),
        ("${a}-${on}", "1-yes"),
        ("${default_label}!", "DEFAULT!"),
        ("${tags}: ${a}", "t u: 1"),
        ("${nope}", ""),
        ("${nope|default:9}", "9"),
        ("${b|default:none}", "none"),
        ("${a|default:9}", "1"),
        ("${b}", "null"),
        ("${lr}", "0.12345"),
        ("${lr|%.2f}", "0.12"),
        ("${a|%03d}", "001"),
        ("${msg}", "'a b'"),
        ("${msg|unquote}", "a b"),
        ("${path|basename}", "c.csv"),
        ("${path|basename|default:x}", "c.csv"),
        ("${msg|%.2f}", "#error#"),
        ("${a|nope}", "#error#"),
        ("${nope|%.2f}", ""),
        ("${a", "${a"),
        ("$a {a} 100%", "$a {a} 100%"),
        ("${}", ""),
    ],
)
def test_a_template_is_filled_in(template: str, label: str) -> None:
    flags = {**FLAGS, "path": "/a/b/c.csv"}
    assert render_label(template, flags, "DEFAULT", ("t", "u")) == label


def test_a_label_is_the_template_or_else_the_tags_and_the_flags() -> None:
    assert run_label(None, {"b": 1, "a": 2}) == "a=2 b=1"
    assert run_label(None, {"a": 2}, ("z", "y")) == "z y a=2"
    assert run_label("mine", {"a": 2}, ("z",)) == "mine"
    assert run_label("mine ${default_label}", {"a": 2}, ("z",)) == "mine a=2"
    assert run_label("", {"a": 2}) == ""


@pytest.mark.parametrize(
    ("label", "tags", "varying", "shown"),
    [
        ("a=1 b=2", (), ("b",), "b=2"),
        ("t a=1 b=2", ("t",), ("b",), "t b=2"),
        ("mine", (), ("b",), "mine"),
        ("a=1 b=2", (), (), "a=1 b=2"),
        (None, (), ("b",), ""),
    ],
)
def test_beside_other_trials_a_default_label_is_what_varies(
    label: str | None, tags: tuple[str, ...], varying: tuple[str, ...], shown: str
) -> None:
    assert trial_label(label, {"a": 1, "b": 2}, tags, varying) == shown
