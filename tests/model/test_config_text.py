import configparser
import json
import tomllib

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra.errors import FlagError
from orchestra.model.config_text import (
    _write_toml,  # pyright: ignore[reportPrivateUsage]
    apply_to_config,
    config_name,
    read_config,
)

PROPERTY = settings(derandomize=True, deadline=None, max_examples=60)

YAML = b"# rates\nlr: 0.1\nmodel:\n  depth: 3\n  kind: x\nlayers: [1, 2]\n"


def test_values_take_the_places_of_those_in_the_file() -> None:
    changed = apply_to_config(YAML, "c.yml", {"lr": 1, "model.depth": None, "new.deep.er": "a: b"})
    assert yaml.safe_load(changed) == {
        "lr": 1,
        "model": {"depth": None, "kind": "x"},
        "layers": [1, 2],
        "new": {"deep": {"er": "a: b"}},
    }
    assert list(yaml.safe_load(changed)) == ["lr", "model", "layers", "new"]


def test_a_name_with_a_dot_in_it_is_found_where_it_is() -> None:
    assert json.loads(apply_to_config(b'{"a.b": {"c": 1}}', "c.json", {"a.b.c": 2})) == {"a.b": {"c": 2}}


def test_each_format_is_written_as_it_is_read() -> None:
    values = {"main.lr": 0.5, "main.name": "n", "main.on": True}
    changed = apply_to_config(b"[main]\nlr = 1\nOther = x # y\n", "c.ini", values).decode()
    parser = configparser.ConfigParser()
    parser.read_string(changed)
    assert parser.getfloat("main", "lr") == 0.5
    assert parser.getboolean("main", "on") is True
    assert "Other = x # y" in changed
    toml = apply_to_config(b"[main]\nlr = 1\nday = 2020-01-02\n[[many]]\na = 1\n", "c.toml", values).decode()
    assert tomllib.loads(toml)["main"] | {"day": 0} == {"lr": 0.5, "day": 0, "name": "n", "on": True}
    assert tomllib.loads(toml)["many"] == [{"a": 1}]


def test_entries_of_an_ini_file_beside_its_sections_are_its_defaults() -> None:
    assert read_config(b"[DEFAULT]\na = 1\n[s]\nb = yes\nc = [1, 2]\nd\n", "x.cfg") == {
        "a": 1,
        "s": {"b": True, "c": "[1, 2]", "d": None},
    }
    assert apply_to_config(b"[DEFAULT]\na = 1\n[s]\nb = 2\n", "x.cfg", {"a": 5}) == (
        b"[DEFAULT]\na = 5\n[s]\nb = 2\n"
    )


COMMENTED = {
    "c.yml": (
        b"# what we found out\nlr: 0.1  # not more\n\nmodel: {depth: 3, kind: 'x'}\n'a b':\n- 1\n"
        b"deep:\n    er: null # none\n    est:\n    # the end\nempty:\nlast: [1,\n  2] # two\n# that was all\n",
        {"lr": 0.5, "model.kind": "y: z", "deep.er": [1, "a"], "deep.est": True, "more": 1, "deep.new": None},
        b"# what we found out\nlr: 0.5  # not more\n\nmodel: {depth: 3, kind: 'y: z'}\n'a b':\n- 1\n"
        b"deep:\n    er: [1, a] # none\n    est: true\n    new: null\n    # the end\nempty:\nlast: [1,\n  2] # two\n"
        b"more: 1\n# that was all\n",
    ),
    "c.toml": (
        b'# top\r\nname = "a # b" # name\r\nlr=0.1\r\n[model] # the model\r\ndepth = 3#deep\r\n"k" = [1, 2]\r\n'
        b"\r\n[model.part]\r\nx = 1\r\n\r\n[[many]]\r\nx = 1\r\n",
        {
            "name": "c",
            "lr": 0.5,
            "model.depth": 4,
            "model.k": [3],
            "model.part.x": 2,
            "model.new": "n",
            "top": 1,
        },
        b'# top\r\nname = "c" # name\r\nlr=0.5\r\ntop = 1\r\n[model] # the model\r\ndepth = 4#deep\r\n"k" = [3]\r\n'
        b'new = "n"\r\n\r\n[model.part]\r\nx = 2\r\n\r\n[[many]]\r\nx = 1\r\n',
    ),
    "c.ini": (
        b"; top\n[DEFAULT]\na: 1\n\n[main]\n# rate\nLR = 0.1\n\n; end\n[other]\nlr=2\n",
        {"main.LR": 0.5, "other.lr": 3, "main.new": "x y", "a": 2},
        b"; top\n[DEFAULT]\na: 2\n\n[main]\n# rate\nLR = 0.5\nnew = x y\n\n; end\n[other]\nlr=3\n",
    ),
}


@pytest.mark.parametrize("name", COMMENTED)
def test_comments_and_layout_stay_where_values_change(name: str) -> None:
    before, values, after = COMMENTED[name]
    assert apply_to_config(before, name, values).decode() == after.decode()
    assert apply_to_config(after, name, values) == after


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("c.yml", b"a: |\n  text\nb: 1 # b\n", {"a": 2}),
        ("c.yml", b"a:\n- 1\nb: 1 # b\n", {"a": [2]}),
        ("c.yml", b"a: &x 1 # a\nb: *x\n", {"a": 2}),
        ("c.yml", b"a: &x 1 # a\nb: *x\n", {"b": 2}),
        ("c.yml", b"{a: 1} # a\n", {"b": 2}),
        ("c.yml", b"a: 1 # a\n", {"b.c.d": 2}),
        ("c.yml", b"a: |\n  text # a\n", {"b": 2}),
        ("c.yml", b"yes: 1 # a\n", {"True": 2}),
        ("c.ini", b"[a]\nb = 1\n  2\n# a\n", {"a.b": 2}),
        ("c.ini", b"[a]\nb\n# a\n", {"a.b": 2, "c.d": 1}),
        ("c.ini", b"[a]\nb = 1\n", {"x": 2}),
        ("c.toml", b"a = [ # a\n 1 ]\n", {"a": [2]}),
        ("c.toml", b"a = {b = 1} # a\n", {"a.b": 2}),
        ("c.toml", b"a = 1\n[[b]]\na = 2\n", {"a": 3}),
        ("c.toml", b"t = '''\na = 1\n'''\na = 2\n", {"a": 3}),
        ("c.toml", b"a = 1 # a\n", {"a": None}),
    ],
)
def test_what_can_not_be_changed_in_its_place_is_written_anew_with_the_right_values(
    name: str, text: bytes, values: dict[str, object]
) -> None:
    def flat(data: dict[str, object], above: str = "") -> dict[str, object]:
        found: dict[str, object] = {}
        for key, value in data.items():
            found |= flat(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
        return found

    before, after = (flat(read_config(one, name)) for one in (text, apply_to_config(text, name, values)))
    expected = {
        key: value for key, value in (before | values).items() if not (name == "c.toml" and value is None)
    }
    assert after == expected


KEYS = st.sampled_from(["a", "b", "c d", "true", "1"])
VALUES = st.one_of(
    st.integers(), st.booleans(), st.none(), st.floats(allow_nan=False), st.text("ab: #'\"{[\n", max_size=5)
)


@PROPERTY
@given(st.dictionaries(KEYS, st.one_of(VALUES, st.dictionaries(KEYS, VALUES, min_size=1))), st.data())
def test_whatever_changes_in_a_yaml_file_is_read_as_it_was_given(
    tree: dict[str, object], data: st.DataObject
) -> None:
    text = yaml.safe_dump(tree, default_flow_style=data.draw(st.booleans()), sort_keys=False).encode()
    name, value = data.draw(KEYS), data.draw(VALUES)
    assert yaml.safe_load(apply_to_config(text, "c.yml", {name: value})) == {**tree, name: value}


def test_a_template_is_of_the_format_that_it_is_a_template_of() -> None:
    assert config_name("conf/c.yml.in") == "conf/c.yml"
    assert read_config(b"a: 1", "conf/c.yml.in") == {"a": 1}


def test_an_empty_yaml_file_holds_nothing_yet() -> None:
    assert apply_to_config(b"", "c.yaml", {"a": 1}) == b"a: 1\n"


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        (b"a: [", "c.yml", "'c.yml' can't be read as YAML"),
        (b"{", "c.json", "'c.json' can't be read as JSON"),
        (b"[a", "c.toml", "'c.toml' can't be read as TOML"),
        (b"a = 1", "c.ini", "'c.ini' can't be read as INI"),
        (b"\xff", "c.json", "'c.json' can't be read as JSON"),
        (b"[1]", "c.json", "'c.json' can't hold flags: it is no map"),
        (b"", "c.txt", "'c.txt' is no configuration file that can be read"),
        (b"{}", "json", "'json' is no configuration file that can be read"),
        (b"a: 1", "c.yml", "flag 'a.b' can't be set in 'c.yml': 'a' is no map there"),
        (b"b = 1", "c.toml", "'c.toml' can't be written as TOML: a list with null"),
    ],
)
def test_a_file_that_cannot_take_the_values_is_told_by_name(text: bytes, name: str, message: str) -> None:
    with pytest.raises(FlagError) as caught:
        apply_to_config(text, name, {"a.b": [None] if name == "c.toml" else 1})
    assert caught.value.message.startswith(message)


NAMES = st.text('ab"\\é .-', min_size=1, max_size=3)
VALUES = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=5)
TREES = st.dictionaries(
    NAMES,
    st.recursive(VALUES | st.lists(VALUES, max_size=3), lambda i: st.dictionaries(NAMES, i, max_size=3)),
)


@PROPERTY
@given(TREES)
def test_what_is_written_as_toml_is_read_as_the_same(tree: dict[str, object]) -> None:
    assert tomllib.loads(_write_toml(tree)) == tree
