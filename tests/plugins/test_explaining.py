"""Of whatever is wrong with a plugin its check says what, where, and what to do."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from orchestra import plugins
from orchestra.plugins.files import plugins_in
from tests.plugins.samples import HEAD, OPENER, SOUND, resolvers

GIVEN = "yield Sound(options)"


@pytest.fixture
def check(fake_site):
    def check_plugin(source: str, target: str = "mod:open_it") -> plugins.Remark:
        """The one problem of a plugin with this source; ``where`` is the text of the line instead."""
        fake_site.install("dist", modules={"mod.py": source}, entry_points=resolvers(it=target))
        remarks = asyncio.run(plugins.check("resolver", "it"))
        (problem,) = [remark for remark in remarks if remark.level == "problem"]
        return problem

    return check_plugin


def line_at(where: str | None) -> str:
    assert where is not None
    file, line = re.fullmatch(r"(.+?)(?::(\d+))?", where).groups()
    return Path(file).read_text().splitlines()[int(line) - 1].strip() if line else Path(file).name


@pytest.mark.parametrize(
    ("source", "message", "line"),
    [
        # of the import
        (SOUND + "1/0", "ZeroDivisionError: division by zero", "1/0"),
        ("def broken(:", "SyntaxError: invalid syntax", "def broken(:"),
        ("x = 1\nraise SystemExit(3)", "it called sys.exit(3)", "raise SystemExit(3)"),
        # of the opener
        ("open_it = 3", "its opener mod:open_it is not a function", "mod.py"),
        (
            HEAD + OPENER.replace("async def", "def").replace("@async", "@"),
            "contextmanager' is not defined",
            "@contextmanager",
        ),
        (
            "from contextlib import contextmanager\n"
            + HEAD
            + OPENER.replace("async def", "def").replace("@async", "@"),
            "must be 'async def', under contextlib.asynccontextmanager",
            "@contextmanager",
        ),
        (
            HEAD + OPENER.replace("@asynccontextmanager\n", ""),
            "must be decorated with contextlib.asynccontextmanager",
            "async def open_it(options: Options):",
        ),
        (
            HEAD + "def open_it(options: Options):\n    return Sound(options)",
            "its opener does not return an async context manager",
            "def open_it(options: Options):",
        ),
        (
            HEAD + "def open_it(options: Options, home): pass",
            "but takes options, home",
            "def open_it(options: Options, home): pass",
        ),
        (
            HEAD + "def open_it(options: dict): pass",
            "must annotate 'options' with a msgspec.Struct",
            "def open_it(options: dict): pass",
        ),
        # of its options
        (
            SOUND.replace(", forbid_unknown_fields=True", ""),
            "give it forbid_unknown_fields=True",
            "class Options(Struct, frozen=True, kw_only=True):",
        ),
        (
            SOUND.replace("frozen=True, ", ""),
            "takes Options, which can be changed: give it frozen=True",
            "class Options(Struct, kw_only=True, forbid_unknown_fields=True):",
        ),
        # of what it does
        (
            SOUND.replace(GIVEN, "raise OSError('no tape')\n    yield"),
            "can't be opened: OSError: no tape",
            "raise OSError('no tape')",
        ),
        (
            SOUND.replace(GIVEN, "return\n    yield"),
            "its opener ends without yielding the plugin",
            "@asynccontextmanager",
        ),
        (
            SOUND.replace(GIVEN, f"{GIVEN}\n    yield 2"),
            "its opener yields a second time",
            "@asynccontextmanager",
        ),
        (
            SOUND.replace(GIVEN, "yield"),
            "its opener yields None: it must yield the plugin",
            "@asynccontextmanager",
        ),
        (
            SOUND.replace(GIVEN, "yield Sound"),
            "yields the class Sound: it must yield an object of it",
            "class Sound:",
        ),
        (
            SOUND.replace(GIVEN, f"{GIVEN}\n    raise OSError('stuck')"),
            "failed when it was closed: OSError: stuck",
            "raise OSError('stuck')",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place(check, source, message, line):
    problem = check(source)

    assert message in problem.message
    assert problem.message.endswith(".")
    assert line_at(problem.where) == line


@pytest.mark.parametrize(
    ("change", "message", "line"),
    [
        (("def resolve", "def resolv"), "resolve() is missing", "class Sound:"),
        (
            ("async def resolve", "def resolve"),
            "resolve() must be 'async def'",
            "def resolve(self, source, into, runs):",
        ),
        (("into, runs", "into"), "resolve() does not take 'runs'", "async def resolve(self, source, into):"),
        (
            ("runs)", "runs, speed)"),
            "demands 'speed', which nobody gives it",
            "async def resolve(self, source, into, runs, speed):",
        ),
    ],
)
def test_a_method_that_is_not_its_contract_s_is_told_with_what_the_contract_has(check, change, message, line):
    problem = check(SOUND.replace(*change))

    assert problem.message.startswith("resolver 'it' of dist 1.0: ") and message in problem.message
    assert line_at(problem.where) == line
    contract = (
        "The contract has 'async def resolve(self, source: Source, into: Path, runs: RunReader) -> Resolved'."
    )
    meant = "Is resolv() meant to be it? " if "resolv" in change[1] and "resolve" not in change[1] else ""
    assert problem.advice == meant + contract


def test_each_method_that_falls_short_is_a_problem_of_its_own(fake_site):
    fake_site.install(
        "dist", modules={"mod.py": SOUND}, entry_points={"orchestra.stores": {"it": "mod:open_it"}}
    )

    remarks = asyncio.run(plugins.check("store", "it"))

    missing = [remark.message for remark in remarks if remark.level == "problem"]
    assert len(missing) == 7
    assert "store 'it' of dist 1.0: claim() is missing." in missing


@pytest.mark.parametrize(
    ("source", "target", "advice"),
    [
        (
            "import not_there",
            "mod:open_it",
            "Install 'not_there', and name what has it among the dependencies of dist.",
        ),
        (
            SOUND,
            "elsewhere:open_it",
            "Correct the entry point or the packages in dist's pyproject.toml, and install it again.",
        ),
        (
            "from orchestra.contracts import Tomorrow",
            "mod:open_it",
            "It needs another version of orchestra-runs: upgrade that or dist.",
        ),
        (
            "import orchestra.tomorrow",
            "mod:open_it",
            "It needs another version of orchestra-runs: upgrade that or dist.",
        ),
        (
            SOUND.replace("open_it", "open_tape"),
            "mod:open_it",
            "Define it, or correct the entry point in dist's pyproject.toml and install it again. There is open_tape.",
        ),
        (
            "raise SystemExit",
            "mod:open_it",
            "Raise an error, or nothing: the process is not the plugin's to end.",
        ),
    ],
)
def test_what_to_do_about_an_import_that_fails_is_told(check, source, target, advice):
    assert check(source, target).advice == advice


def test_an_error_of_ours_from_an_opener_keeps_its_hint(check):
    source = "from orchestra.errors import StoreUnavailable\n" + SOUND

    problem = check(source.replace(GIVEN, "raise StoreUnavailable('away', 'Come back.')\n    yield"))

    assert (problem.message, problem.advice) == ("away.", "Come back.")


def test_of_two_distributions_with_one_name_the_other_is_named(fake_site):
    for name in ("tape-a", "tape-b"):
        module = name.replace("-", "_")
        points = resolvers(tape=f"{module}:open_it")
        fake_site.install(name, modules={f"{module}.py": SOUND}, entry_points=points)

    first, *rest = asyncio.run(plugins.check("resolver", "tape-a:tape"))

    assert first.message == "resolver 'tape' of tape-a 1.0: tape-b provides this name, too."
    assert first.advice == "Uninstall one of them, or choose one by its distribution: 'tape-a:tape'."
    assert [remark.level for remark in rest] == ["ok"] * 3


class TestFiles:
    """A plugin may be checked before anybody has installed it."""

    def test_the_openers_of_a_file_are_found_by_their_names(self, fake_site, tmp_path):
        (tmp_path / "tape1.py").write_text(SOUND.replace("open_it", "open_resolver"))

        (info,) = plugins_in(tmp_path / "tape1.py")

        assert (info.kind, info.name, info.target) == ("resolver", "tape1", "tape1:open_resolver")
        assert [one.level for one in asyncio.run(plugins.examine(info))] == ["ok"] * 3

    def test_a_file_of_a_package_is_imported_as_a_part_of_it(self, tmp_path):
        package = tmp_path / "tape_package"
        package.mkdir()
        (package / "__init__.py").write_text("from .inner import open_resolver")
        (package / "inner.py").write_text("from . import other\n" + SOUND.replace("open_it", "open_resolver"))
        (package / "other.py").touch()

        for file, module in (("inner.py", "tape_package.inner"), ("__init__.py", "tape_package")):
            (info,) = plugins_in(package / file)
            assert info.target == f"{module}:open_resolver"

    def test_an_opener_of_another_name_is_taken_for_what_it_is_said_to_be(self, tmp_path):
        (tmp_path / "tape2.py").write_text(SOUND)

        (info,) = plugins_in(tmp_path / "tape2.py", "resolver")
        assert info.target == "tape2:open_it"
        assert "'--kind executor'" in plugins_in(tmp_path / "tape2.py").advice

    @pytest.mark.parametrize(
        ("source", "line"), [("import not_there", "import not_there"), ("x = (", "x = (")]
    )
    def test_why_a_file_can_not_be_imported_is_told(self, tmp_path, source, line):
        (tmp_path / "tape3.py").write_text(f"{source}\nopen_resolver = None\n")

        remark = plugins_in(tmp_path / "tape3.py")

        assert remark.message.startswith(f"'{tmp_path / 'tape3.py'}' can't be imported: ")
        assert line_at(remark.where) == line

    def test_a_file_whose_name_another_module_has_is_not_mistaken_for_it(self, tmp_path):
        (tmp_path / "asyncio.py").write_text(SOUND)

        assert "the module 'asyncio' is " in plugins_in(tmp_path / "asyncio.py").message
