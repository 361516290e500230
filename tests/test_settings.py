"""Settings come from five places, later wins, and what is wrong is named with its place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orchestra.errors import HomeError, UserError
from orchestra.settings import find_home, load_settings, parse_plugin_spec


@pytest.fixture
def home(tmp_path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


@pytest.fixture
def user(tmp_path) -> Path:
    return tmp_path / "user.yml"


@pytest.fixture
def load(home, user):
    def load_with(user_text: str = "", home_text: str = "", env=None, project=None, options=None):
        user.write_text(user_text)
        (home / "config.yml").write_text(home_text)
        variables = {"ORCHESTRA_CONFIG": str(user), **(env or {})}
        return load_settings(home, options, project=project, env=variables)

    return load_with


class TestLayers:
    def test_without_any_file_the_settings_are_the_defaults(self, home, tmp_path):
        settings = load_settings(home, env={"HOME": str(tmp_path)})

        assert (settings.executor, settings.store) == ("local", "sqlite")
        assert (settings.durability, settings.interim, settings.plugins) == ("full", "keep", {})

    def test_without_any_file_no_yaml_is_imported(self, home, tmp_path):
        code = (
            "import sys; from pathlib import Path; from orchestra.settings import load_settings;"
            f"load_settings(Path({str(home)!r}), env={{'HOME': {str(tmp_path)!r}}});"
            "print([name for name in ('yaml', 'stevedore', 'anyio', 'difflib') if name in sys.modules])"
        )
        root = Path(__file__).parents[1]
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
        )

        assert done.stdout == "[]\n"

    def test_the_users_file_is_in_the_configuration_folder_unless_it_is_named(self, home, tmp_path):
        for folder in (tmp_path / ".config", tmp_path / "xdg"):
            (folder / "orchestra").mkdir(parents=True)
            (folder / "orchestra" / "config.yml").write_text(f"executor: {folder.name}\n")
        env = {"HOME": str(tmp_path)}

        assert load_settings(home, env=env).executor == ".config"
        assert load_settings(home, env={**env, "XDG_CONFIG_HOME": str(tmp_path / "xdg")}).executor == "xdg"

    def test_later_places_win(self, load):
        places = {
            "home_text": "executor: home",
            "project": {"executor": "project"},
            "env": {"ORCHESTRA_EXECUTOR": "env"},
            "options": {"executor": "options"},
        }
        given: dict = {}
        assert load("executor: user").executor == "user"
        for place, layer in places.items():
            given[place] = layer

            assert load("executor: user", **given).executor == place.removesuffix("_text")

    @pytest.mark.parametrize("layers", [{"options": {"executor": None}}, {"env": {"ORCHESTRA_EXECUTOR": ""}}])
    def test_what_was_not_given_hides_nothing(self, load, layers):
        assert load("executor: user", **layers).executor == "user"

    def test_plugin_options_are_merged_one_by_one(self, load):
        settings = load(
            "plugins: {executor: {slurm: {partition: cpu, account: me}}}",
            "plugins: {executor: {slurm: {partition: gpu}, dask: {workers: 2}}, store: {sqlite: {path: x}}}",
            options={"plugins": {"executor": {"dask": {"workers": 4}}}},
        )

        assert settings.plugin_options("executor", "slurm") == {"partition": "gpu", "account": "me"}
        assert settings.plugin_options("executor", "dask") == {"workers": 4}
        assert settings.plugin_options("store", "sqlite") == {"path": "x"}
        assert settings.plugin_options("store", "other") == {}

    def test_the_options_of_a_spec_lie_above_those_that_are_settled(self, load):
        settings = load("plugins: {executor: {slurm: {partition: cpu, account: me}}}")

        name, options = settings.plugin("executor", "dist:slurm partition=gpu")

        assert (name, options) == ("dist:slurm", {"partition": "gpu", "account": "me"})

    def test_the_store_is_settled_for_one_home(self, load):
        assert load(home_text="store: postgres dsn=x").store == "postgres dsn=x"
        assert load(env={"ORCHESTRA_STORE": "memory"}).store == "memory"
        with pytest.raises(UserError, match="'store' can't be settled for all homes"):
            load("store: memory")


class TestOutputLimit:
    @pytest.mark.parametrize(
        ("text", "size"),
        [
            ("", 1 << 30),
            ("output-limit: 2G", 2 << 30),
            ("output-limit: none", None),
            ("output-limit: 0", None),
        ],
    )
    def test_what_an_output_may_take_is_a_size_or_anything(self, load, text, size):
        assert load(text).most_output == size

    def test_a_variable_says_it_as_well(self, load):
        assert load("output-limit: 2G", env={"ORCHESTRA_OUTPUT_LIMIT": "5M"}).most_output == 5 << 20


class TestMistakes:
    @pytest.mark.parametrize(
        ("text", "message", "hint"),
        [
            ("exekutor: x", "{file}: unknown setting 'exekutor'", "Did you mean 'executor'?"),
            ("plugins: {executer: {}}", "{file}: unknown plugin kind 'executer'", "Did you mean 'executor'?"),
            ("durability: slow", "{file}: the setting 'durability' is wrong: Invalid enum value 'slow'", ""),
            ("executor: 3", "{file}: the setting 'executor' has to be a text, not a whole number", ""),
            (
                "plugins: {executor: {slurm: gpu}}",
                "{file}: the setting 'plugins' has to be a mapping",
                "",
            ),
            (
                "output-limit: 5",
                "{file}: the setting 'output-limit' is wrong: invalid size of memory '5'",
                "512M",
            ),
            (
                "output-limit: 10k",
                "{file}: the setting 'output-limit' is wrong: an output limit of 10k",
                "1M",
            ),
            ("output_limit: 1G", "{file}: unknown setting 'output_limit'", "Did you mean 'output-limit'?"),
            ("- executor", "{file}: the settings must be 'NAME: VALUE' lines", ""),
            ("executor: [", "{file}:1:12: expected the node content", ""),
            ("executor: a\n\texecutor: b", "{file}:2:1: found character '\\t'", ""),
            ("executor: a\nexecutor: b", "{file}:2: 'executor' is there twice", "in line 1"),
            ("plugins:\n  store:\n    a: {}\n    a: {}", "{file}:4: 'a' is there twice", "in line 3"),
            ("executor: !!python/object/apply:os.getcwd []", "{file}:1:11: could not determine", ""),
            ("executor: *x", "{file}:1:11: found undefined alias", ""),
            ("\x01", "{file}: unacceptable character", ""),
        ],
    )
    def test_a_mistake_in_a_file_is_told_with_its_place(self, load, user, text, message, hint):
        with pytest.raises(UserError) as error:
            load(text)

        assert error.value.message.startswith(message.format(file=user))
        assert hint in str(error.value.hint)

    def test_a_wrong_variable_is_named(self, load):
        with pytest.raises(UserError, match="ORCHESTRA_INTERIM: the setting 'interim' is wrong"):
            load(env={"ORCHESTRA_INTERIM": "maybe"})

    def test_a_file_that_was_named_must_be_there(self, home):
        with pytest.raises(UserError, match="ORCHESTRA_CONFIG names a file that is missing: '/not/there'"):
            load_settings(home, env={"ORCHESTRA_CONFIG": "/not/there"})

    def test_a_file_that_is_no_text_is_told(self, load, home, user):
        user.write_bytes(b"\xff\xfe")
        with pytest.raises(UserError, match="not UTF-8"):
            load_settings(home, env={"ORCHESTRA_CONFIG": str(user)})

    def test_a_folder_in_place_of_the_file_is_told_in_the_systems_words(self, home, user):
        user.mkdir()
        with pytest.raises(UserError, match="the settings can't be read: Is a directory"):
            load_settings(home, env={"ORCHESTRA_CONFIG": str(user)})


class TestSpec:
    @pytest.mark.parametrize(
        ("spec", "expected"),
        [
            ("local", ("local", {})),
            ("slurm partition=gpu", ("slurm", {"partition": "gpu"})),
            ("slurm 'comment=a b' x=", ("slurm", {"comment": "a b", "x": ""})),
            ("pg dsn=postgres://u@h/d?x=1", ("pg", {"dsn": "postgres://u@h/d?x=1"})),
            ("dist:slurm", ("dist:slurm", {})),
        ],
    )
    def test_a_spec_is_a_name_and_options(self, spec, expected):
        assert parse_plugin_spec(spec) == expected

    @pytest.mark.parametrize("spec", ["", "  ", "partition=gpu", "slurm gpu", "slurm =gpu", "slurm 'open"])
    def test_what_is_no_spec_is_refused(self, spec):
        with pytest.raises(UserError):
            parse_plugin_spec(spec)


class TestHome:
    def test_the_one_that_was_asked_for_wins(self, tmp_path):
        asked = tmp_path / "asked"

        assert find_home(asked, {"ORCHESTRA_HOME": "/else"}, tmp_path) == asked
        assert find_home("asked", {}, tmp_path) == asked
        assert not asked.exists()

    def test_then_the_variable(self, tmp_path):
        (tmp_path / ".orchestra").mkdir()

        assert find_home(None, {"ORCHESTRA_HOME": "other"}, tmp_path) == tmp_path / "other"

    def test_then_the_nearest_folder_upward(self, tmp_path):
        (tmp_path / ".orchestra").mkdir()
        (tmp_path / "a" / "b").mkdir(parents=True)

        assert find_home(None, {}, tmp_path / "a" / "b") == tmp_path / ".orchestra"
        (tmp_path / "a" / ".orchestra").mkdir()
        assert find_home(None, {}, tmp_path / "a" / "b") == tmp_path / "a" / ".orchestra"

    def test_then_the_users(self, tmp_path):
        assert find_home(None, {"HOME": "/users/me"}, tmp_path) == Path("/users/me/.orchestra")

    def test_inside_a_runs_directory_it_is_the_runs(self, tmp_path):
        run = tmp_path / "elsewhere" / "runs" / "abc"
        (run / ".orchestra").mkdir(parents=True)
        (run / ".orchestra" / "run.json").write_text("{}")
        (run / "sub").mkdir()
        (tmp_path / ".orchestra").mkdir()

        assert find_home(None, {}, run / "sub") == tmp_path / "elsewhere"

    def test_a_run_in_a_folder_of_its_own_belongs_to_the_home_above(self, tmp_path):
        run = tmp_path / "a" / "mine"
        (run / ".orchestra").mkdir(parents=True)
        (run / ".orchestra" / "run.json").write_text("{}")
        (tmp_path / ".orchestra").mkdir()

        assert find_home(None, {}, run) == tmp_path / ".orchestra"

    @pytest.mark.parametrize(
        ("asked", "message"),
        [("file", "the home is not a directory"), ("no/parent", "its parent is missing"), ("", "is empty")],
    )
    def test_one_that_can_not_be_is_refused(self, tmp_path, asked, message):
        (tmp_path / "file").write_text("")

        with pytest.raises(HomeError, match=message):
            find_home(asked, {}, tmp_path)
        if asked:
            with pytest.raises(HomeError, match="the home of ORCHESTRA_HOME"):
                find_home(None, {"ORCHESTRA_HOME": asked}, tmp_path)
