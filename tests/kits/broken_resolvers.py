"""Resolvers with one defect each. ``caught_by`` names the test of the kit that must notice."""

from __future__ import annotations

import shutil
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from msgspec import structs

from orchestra.contracts import Resolved, Source
from orchestra.errors import ResolveError
from orchestra.testing.resolvers import HostileSourcesContract, ResolverContract


class Sound:
    """Provides a folder of two files, with seams to break."""

    def locate(self, source: Source) -> Path:
        path = source.base / source.value
        if not path.is_dir() or path.parent != source.base or source.value in ("", ".", ".."):
            raise ResolveError(f"cannot find '{source.value}'")
        return path

    async def provide(self, path: Path, into: Path) -> None:
        if into.is_symlink():
            into.unlink()
        partial = into.with_name(".partial")
        partial.mkdir()
        try:
            for file in sorted(path.iterdir()):
                await anyio.lowlevel.checkpoint()
                shutil.copy2(file, partial)
            shutil.rmtree(into, ignore_errors=True)
            partial.rename(into)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    async def resolve(self, source, into, runs):
        path = self.locate(source)
        await self.provide(path, into / path.name)
        return Resolved(paths=(path.name,), origin=str(path))


class Whole(HostileSourcesContract, ResolverContract):
    resolver: type = Sound
    caught_by = ""

    @pytest.fixture
    def opener(self):
        @asynccontextmanager
        async def open_resolver():
            yield self.resolver()

        return open_resolver

    @pytest.fixture
    def source(self, base):
        (base / "data").mkdir()
        for name in ("a", "b"):
            (base / "data" / name).write_text(name)
        return Source(scheme="x", value="data", base=base)

    @pytest.fixture
    def missing(self, base):
        return Source(scheme="x", value="gone", base=base)

    @pytest.fixture
    def hostile(self, base):
        return [Source(scheme="x", value=value, base=base) for value in ("..", "../project", "/etc")]


class TestSound(Whole):
    pass


class TestNamesNothing(Whole):
    caught_by = "test_what_it_names_is_there"

    class resolver(Sound):
        async def resolve(self, source, into, runs):
            await super().resolve(source, into, runs)
            return Resolved(paths=())


class TestNamesWhatIsNotThere(Whole):
    caught_by = "test_what_it_names_is_there"

    class resolver(Sound):
        async def resolve(self, source, into, runs):
            self.locate(source)
            return Resolved(paths=("data",))


class TestWarnsLetterByLetter(Whole):
    caught_by = "test_what_it_warns_of_is_said_in_lines"

    class resolver(Sound):
        async def resolve(self, source, into, runs):
            resolved = await super().resolve(source, into, runs)
            return structs.replace(resolved, warnings="it is old")


class TestWarnsInParagraphs(Whole):
    caught_by = "test_what_it_warns_of_is_said_in_lines"

    class resolver(Sound):
        async def resolve(self, source, into, runs):
            resolved = await super().resolve(source, into, runs)
            return structs.replace(resolved, warnings=("it is old\nor new",))


class TestWritesBesideTheRun(Whole):
    caught_by = "test_writes_nowhere_but_into_the_run"

    class resolver(Sound):
        async def resolve(self, source, into, runs):
            (into.parent / "cache").write_text("x")
            return await super().resolve(source, into, runs)


class TestMovesTheSource(Whole):
    caught_by = "test_writes_nowhere_but_into_the_run"

    class resolver(Sound):
        async def resolve(self, source, into, runs):
            resolved = await super().resolve(source, into, runs)
            shutil.rmtree(source.base / source.value)
            return resolved


class TestLeavesItsNotesBehind(Whole):
    caught_by = "test_leaves_what_it_does_not_provide_alone"

    class resolver(Sound):
        async def resolve(self, source, into, runs):
            (into / "resolved.txt").write_text("yes")
            return await super().resolve(source, into, runs)


class TestClearsTheRunFirst(Whole):
    caught_by = "test_leaves_what_it_does_not_provide_alone"

    class resolver(Sound):
        async def resolve(self, source, into, runs):
            for file in into.iterdir():
                if file.is_file():
                    file.unlink()
            return await super().resolve(source, into, runs)


class TestNumbersWhatItProvides(Whole):
    caught_by = "test_resolving_again_gives_the_same_and_changes_nothing"

    class resolver(Sound):
        async def resolve(self, source, into, runs):
            path = self.locate(source)
            name = f"data-{len(list(into.iterdir()))}"
            await self.provide(path, into / name)
            return Resolved(paths=(name,))


class TestFailsTheSecondTime(Whole):
    caught_by = "test_resolving_again_gives_the_same_and_changes_nothing"

    class resolver(Sound):
        async def provide(self, path, into):
            shutil.copytree(path, into)


class TestFollowsLinks(Whole):
    caught_by = "test_never_writes_through_a_link_that_leads_out_of_the_run"

    class resolver(Sound):
        async def provide(self, path, into):
            shutil.copytree(path, into, dirs_exist_ok=True)


class TestLetsForeignErrorsThrough(Whole):
    caught_by = "test_a_missing_source_is_a_resolve_error_and_leaves_nothing"

    class resolver(Sound):
        def locate(self, source):
            path = source.base / source.value
            path.stat()
            return path


class TestPreparesForWhatIsMissing(Whole):
    caught_by = "test_a_missing_source_is_a_resolve_error_and_leaves_nothing"

    class resolver(Sound):
        async def resolve(self, source, into, runs):
            (into / source.value).mkdir(exist_ok=True)
            return await super().resolve(source, into, runs)


class TestLeavesAPart(Whole):
    caught_by = "test_cancelled_it_leaves_all_or_nothing_and_can_be_done_again"

    class resolver(Sound):
        async def provide(self, path, into):
            into.mkdir(exist_ok=True)
            for file in sorted(path.iterdir()):
                await anyio.sleep(0.002)
                shutil.copy2(file, into)


class TestTurnsACancellationIntoAnError(Whole):
    caught_by = "test_a_cancellation_is_not_turned_into_an_error"

    class resolver(Sound):
        async def resolve(self, source, into, runs):
            try:
                await anyio.lowlevel.checkpoint()
            except BaseException as error:
                raise ResolveError("something went wrong") from error
            return await super().resolve(source, into, runs)


class TestTrustsItsSource(Whole):
    caught_by = "test_a_hostile_source_is_refused_and_leaves_nothing"

    class resolver(Sound):
        def locate(self, source):
            path = source.base / source.value
            if not path.is_dir():
                raise ResolveError("gone")
            return path


class TestOverridesATestOfTheKit(Whole):
    caught_by = "test_no_test_of_the_kit_is_overridden"

    async def test_what_it_names_is_there(self):
        pass
