"""Opening a plugin: options are typed, failures name the plugin, and nothing is swallowed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import anyio
import pytest

from orchestra import plugins
from orchestra.errors import PluginError, PluginLoadFailed, PluginOptionsInvalid, ResolveError
from tests.plugins.samples import HEAD, LATE, OPENER, SOUND, resolvers


@pytest.fixture
def install(fake_site):
    def install_plugin(source: str, target: str = "mod:open_it") -> None:
        fake_site.install("dist", modules={"mod.py": source}, entry_points=resolvers(it=target))

    return install_plugin


async def opened(home: Path | None = None, **options):
    async with plugins.open_plugin("resolver", "it", options, home) as plugin:
        return plugin


def load() -> object:
    return plugins.load(plugins.find("resolver", "it"))


class TestLoad:
    @pytest.mark.parametrize(
        ("source", "reason"),
        [
            ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
            (r"raise RuntimeError('one\ntwo')", r"RuntimeError: one\ntwo"),
            ("import sys; sys.exit('bye')", "it called sys.exit('bye')"),
            ("import not_installed", "ModuleNotFoundError: No module named 'not_installed'"),
            ("def broken(:", "SyntaxError: invalid syntax"),
            ("", "AttributeError: module 'mod' has no attribute 'open_it'"),
            ("open_it = 3", "is not a function"),
            (HEAD + "async def open_it(options: Options): yield 1", "must be decorated with contextlib"),
            (HEAD + "async def open_it(options: Options): return 1", "must be decorated with contextlib"),
            (HEAD + "def open_it(): pass", "must take its options and nothing else, but takes nothing"),
            (HEAD + "def open_it(options: Options, home): pass", "but takes options, home"),
            (HEAD + "def open_it(*, options: Options): pass", "must take its options"),
            (HEAD + "def open_it(options): pass", "must annotate 'options' with a msgspec.Struct"),
            (HEAD + "def open_it(options: dict): pass", "must annotate 'options' with a msgspec.Struct"),
            (HEAD + "def open_it(options: 'Gone'): pass", "the annotation 'Gone', which is not defined"),
            (SOUND.replace(", forbid_unknown_fields=True", ""), "give it forbid_unknown_fields=True"),
        ],
    )  # fmt: skip
    def test_what_can_not_be_loaded_says_why_and_which_distribution_it_is_of(self, install, source, reason):
        install(source)

        with pytest.raises(PluginLoadFailed) as error:
            load()

        assert reason in error.value.message
        assert error.value.message.startswith("resolver 'it' of dist 1.0 can't be loaded: ")
        assert error.value.hint == "'orchestra plugins check it' tells more."

    def test_an_interrupt_during_an_import_passes(self, install):
        install("raise KeyboardInterrupt")

        with pytest.raises(KeyboardInterrupt):
            load()

    @pytest.mark.parametrize("source", [SOUND, LATE])
    def test_a_sound_opener_is_returned_as_it_is(self, install, source):
        install(source)

        assert load() is sys.modules["mod"].open_it

    def test_an_opener_may_be_an_attribute_of_an_attribute(self, install):
        install(SOUND + "\nclass Here:\n    open_it = staticmethod(open_it)", "mod:Here.open_it")

        assert load() is sys.modules["mod"].open_it

    def test_what_a_module_prints_while_it_is_imported_is_kept_from_the_results(self, install, capsys):
        install("print('hello from the community')" + SOUND)
        load()

        assert capsys.readouterr() == ("", "hello from the community\n")

    def test_a_module_of_the_current_directory_does_not_stand_in_for_the_plugin(
        self, install, tmp_path, monkeypatch
    ):
        install(SOUND)
        (tmp_path / "mod.py").write_text("raise RuntimeError('planted')")
        monkeypatch.chdir(tmp_path)
        with monkeypatch.context() as changed:
            changed.syspath_prepend(str(tmp_path))
            changed.syspath_prepend("")
            before = list(sys.path)

            assert load() is sys.modules["mod"].open_it
            assert sys.path == before


@pytest.mark.anyio
class TestOptions:
    async def test_options_have_the_types_that_the_plugin_asks_for(self, install, tmp_path):
        install(SOUND)

        plugin = await opened(tmp_path, rate="0.5", loud="yes", label="no", where="~/x")

        assert (plugin.options.rate, plugin.options.loud, plugin.options.label) == (0.5, True, "no")
        assert plugin.options.where == Path.home() / "x"

    @pytest.mark.parametrize(("text", "value"), [("on", True), ("Off", False), ("1", True), ("false", False)])
    async def test_words_for_yes_and_no_are_understood(self, install, tmp_path, text, value):
        install(SOUND)

        assert (await opened(tmp_path, loud=text)).options.loud is value

    async def test_the_home_is_filled_in_unless_it_is_given(self, install, tmp_path):
        install(SOUND)

        assert (await opened(tmp_path)).options.home == tmp_path
        async with plugins.open_plugin("resolver", "it", {"home": "/else"}, tmp_path) as plugin:
            assert plugin.options.home == Path("/else")

    @pytest.mark.parametrize(
        ("options", "message", "hint"),
        [
            ({"ratte": 1}, "the resolver 'it' has no option 'ratte'", "Did you mean 'rate'?"),
            ({"zzz": 1}, "the resolver 'it' has no option 'zzz'", "Its options: label, loud, rate, where."),
            ({"rate": "fast"}, "option 'rate' of the resolver 'it' has to be a number, not 'fast'", ""),
            ({"loud": 3}, "option 'loud' of the resolver 'it' has to be yes or no, not a whole number", ""),
            ({"where": 3}, "option 'where' of the resolver 'it' has to be a path, not a whole number", ""),
        ],
    )
    async def test_a_wrong_option_is_named(self, install, tmp_path, options, message, hint):
        install(SOUND)

        with pytest.raises(PluginOptionsInvalid) as error:
            await opened(tmp_path, **options)

        assert message in error.value.message
        assert hint in (error.value.hint or "")

    async def test_all_options_that_are_missing_are_named(self, install):
        install(SOUND.replace("rate: float = 1.0", "rate: float"))

        with pytest.raises(PluginOptionsInvalid) as error:
            await opened()

        assert error.value.message == "the resolver 'it' needs the options 'rate', 'home'"

    async def test_wrong_options_are_told_before_anything_is_opened(self, install, tmp_path):
        install(SOUND)

        with pytest.raises(PluginOptionsInvalid):
            plugins.open_plugin("resolver", "it", {"ratte": 1}, tmp_path)


@pytest.mark.anyio
class TestOpen:
    async def test_it_is_closed_at_the_end_of_the_block(self, install, tmp_path):
        install(
            SOUND.replace(
                "yield Sound(options)", "yield Sound(options)\n    options.home.joinpath('closed').touch()"
            )
        )

        async with plugins.open_plugin("resolver", "it", {}, tmp_path):
            assert not (tmp_path / "closed").exists()

        assert (tmp_path / "closed").exists()

    @pytest.mark.parametrize("defect", ["raise OSError('no tape')", "raise SystemExit(1)"])
    async def test_an_opener_that_fails_names_the_plugin(self, install, tmp_path, defect):
        install(SOUND.replace("yield Sound(options)", f"{defect}\n    yield"))

        with pytest.raises(PluginLoadFailed, match=r"resolver 'it' of dist 1\.0 can't be opened"):
            await opened(tmp_path)

    async def test_an_error_of_ours_from_an_opener_passes_as_it_is(self, install, tmp_path):
        source = "from orchestra.errors import StoreUnavailable\n" + SOUND
        install(source.replace("yield Sound(options)", "raise StoreUnavailable('away')\n    yield"))

        with pytest.raises(Exception, match=r"^away$") as error:
            await opened(tmp_path)

        assert type(error.value).__name__ == "StoreUnavailable"

    async def test_what_fails_inside_the_block_passes_as_it_is(self, install, tmp_path):
        install(SOUND)
        mine = ValueError("mine")

        with pytest.raises(ValueError, match="mine") as error:
            async with plugins.open_plugin("resolver", "it", {}, tmp_path):
                raise mine

        assert error.value is mine

    async def test_a_plugin_can_not_swallow_what_fails_inside_the_block(self, install, tmp_path):
        deaf = "try:\n        yield Sound(options)\n    except BaseException:\n        pass"
        install(SOUND.replace("yield Sound(options)", deaf))

        with pytest.raises(ResolveError):
            async with plugins.open_plugin("resolver", "it", {}, tmp_path):
                raise ResolveError("gone")

    async def test_a_plugin_can_not_swallow_a_cancellation(self, install, tmp_path):
        deaf = "try:\n        yield Sound(options)\n    except BaseException:\n        pass"
        install(SOUND.replace("yield Sound(options)", deaf))
        went_on = False

        with anyio.move_on_after(0.02):
            async with plugins.open_plugin("resolver", "it", {}, tmp_path):
                await anyio.sleep_forever()
            went_on = True

        assert not went_on

    async def test_a_failure_to_close_names_the_plugin(self, install, tmp_path):
        install(
            SOUND.replace("yield Sound(options)", "yield Sound(options)\n    raise OSError('tape stuck')")
        )

        with pytest.raises(
            PluginError, match=r"resolver 'it' of dist 1\.0 failed when it was closed: OSError: tape"
        ):
            await opened(tmp_path)

    async def test_cancelling_an_opener_passes_through(self, install, tmp_path):
        install(
            "import anyio\n" + SOUND.replace("yield Sound", "await anyio.sleep_forever()\n    yield Sound")
        )

        with anyio.move_on_after(0.02) as scope:
            await opened(tmp_path)

        assert scope.cancelled_caught

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (("async def resolve", "async def fetch"), "resolve() is missing"),
            (("async def resolve", "def resolve"), "resolve() must be 'async def'"),
            (("return None", "yield None"), "resolve() must return its result, but is an async generator"),
            (("source, into, runs", "source, into"), "resolve() does not take 'runs'"),
            (
                ("into, runs", "runs, into"),
                "resolve() calls 'runs' what the contract calls 'into'; "
                "resolve() calls 'into' what the contract calls 'runs'",
            ),
            (("runs)", "runs, speed)"), "resolve() demands 'speed', which nobody gives it"),
            (("runs)", "runs, *, speed)"), "resolve() demands 'speed', which nobody gives it"),
        ],
    )
    async def test_what_it_yields_must_have_the_methods_of_its_contract(
        self, install, tmp_path, change, reason
    ):
        install(SOUND.replace(*change) + "\n")

        with pytest.raises(PluginLoadFailed) as error:
            await opened(tmp_path)

        assert error.value.message == f"resolver 'it' of dist 1.0 can't be used: {reason}"

    async def test_one_that_does_not_keep_its_contract_is_closed_again(self, install, tmp_path):
        closing = "try:\n        yield object()\n    finally:\n        (options.home / 'closed').touch()"
        install(SOUND.replace("yield Sound(options)", closing))

        with pytest.raises(PluginLoadFailed, match=r"resolve\(\) is missing"):
            await opened(tmp_path)

        assert (tmp_path / "closed").exists()

    @pytest.mark.parametrize(
        "signature", ["*args", "source, into, runs, speed=1, **more", "source, into, runs, /"]
    )
    async def test_a_method_may_take_more_than_its_contract_gives(self, install, tmp_path, signature):
        install(SOUND.replace("source, into, runs", signature))

        assert await opened(tmp_path)


def test_a_capability_that_is_offered_must_have_its_form(fake_site):
    source = (
        HEAD
        + """
    async def propose(self, batch, history, limit): pass
    async def count(self, batch): pass
"""
        + OPENER
    )
    fake_site.install(
        "dist", modules={"mod.py": source}, entry_points={"orchestra.expanders": {"it": "mod:open_it"}}
    )

    findings = asyncio.run(plugins.check("expander", "it"))

    assert findings[-1].level == "problem"
    assert "count() must be a plain function, but is 'async def'" in findings[-1].message


@pytest.mark.parametrize("name", ["grid", "random"])
def test_a_built_in_plugin_is_opened_and_closed_without_an_event_loop(name, tmp_path):
    context = plugins.open_plugin("expander", name, {}, tmp_path)
    for step in (context.__aenter__(), context.__aexit__(None, None, None)):
        with pytest.raises(StopIteration):
            step.send(None)  # type: ignore


class TestCheck:
    def test_every_built_in_plugin_passes(self):
        for info in plugins.list_plugins():
            if info.distribution == "orchestra-runs":
                findings = asyncio.run(plugins.check(info.kind, info.name))

                assert [finding.level for finding in findings] == ["ok"] * 3, findings

    def test_it_tells_what_is_fine_and_which_options_there_are(self, install):
        install(SOUND)

        messages = [finding.message for finding in asyncio.run(plugins.check("resolver", "it"))]

        assert messages[0] == "resolver 'it' of dist 1.0 can be imported."
        assert messages[1].startswith(
            "mod:open_it is an opener; its options: rate=1.0, loud=False, label='plain'"
        )
        assert messages[2] == "It opens with its default options and has the contract's methods."

    def test_a_plugin_that_needs_options_is_not_opened(self, install):
        install(SOUND.replace("rate: float = 1.0", "rate: float"))

        last = asyncio.run(plugins.check("resolver", "it"))[-1]

        assert (last.level, last.message) == ("note", "It was not opened, for it has no default for 'rate'.")

    @pytest.mark.parametrize("source", ["1/0", SOUND.replace("async def resolve", "def resolve")])
    def test_it_ends_with_the_problem(self, install, source):
        install(source)

        assert asyncio.run(plugins.check("resolver", "it"))[-1].level == "problem"

    def test_probing_notes_why_a_plugin_can_not_be_imported(self, install):
        install("raise RuntimeError('no licence')")

        assert "no licence" in str(plugins.probe(plugins.find("resolver", "it")).error)

    def test_probing_leaves_a_sound_plugin_as_it_is(self, install):
        install(SOUND)
        info = plugins.find("resolver", "it")

        assert plugins.probe(info) == info
