"""The kit for resolvers.

class TestMine(HostileSourcesContract, ResolverContract):
    @pytest.fixture
    def opener(self):
        return partial(open_resolver, Options())

    @pytest.fixture
    def source(self, base):
        (base / "data.csv").write_text("1,2")
        return Source(scheme="mine", value="data.csv", base=base)

    @pytest.fixture
    def missing(self, base):
        return Source(scheme="mine", value="none.csv", base=base)

    @pytest.fixture
    def hostile(self, base):  # of HostileSourcesContract, where names could lead out of ``base``
        return [Source(scheme="mine", value="../../etc/passwd", base=base)]
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TypeAlias

import anyio
import anyio.lowlevel
import pytest

from orchestra.contracts import Page, Resolver, RunReader, Source
from orchestra.errors import ResolveError
from orchestra.model.filters import RunQuery
from orchestra.model.run import Run
from orchestra.testing.kit import Kit

ResolverOpener: TypeAlias = Callable[[], AbstractAsyncContextManager[Resolver]]
Snapshot: TypeAlias = dict[str, tuple[str, int, str | bytes]]

_DELAYS = (0.0, 0.001, 0.004, 0.016, 0.064)


class FakeRuns:
    """A :class:`RunReader` over given runs and their directories."""

    def __init__(self, runs: Mapping[str, tuple[Run, Path]]) -> None:
        self._runs = dict(runs)

    async def query(self, query: RunQuery) -> Page:
        """As of a store; suspends once, as a store may."""
        await anyio.lowlevel.checkpoint()
        return Page.of(query, (run for run, _ in self._runs.values()))

    def directory(self, run: Run) -> Path:
        """Where the run's files are."""
        return self._runs[run.id][1]

    def source_files(self, run: Run) -> frozenset[str]:
        """The run's script, if it is there."""
        return frozenset({run.operation.main} - {""})


class ResolverContract(Kit):
    """What every resolver keeps."""

    provides_files = True
    """False of a resolver that makes sure of something and provides nothing."""

    @pytest.fixture
    def opener(self) -> ResolverOpener:
        """A function without arguments that opens the resolver; each call gives another handle."""
        raise NotImplementedError("override the fixture 'opener'")

    @pytest.fixture
    def source(self, base: Path) -> Source:
        """A source that can be had."""
        raise NotImplementedError("override the fixture 'source'")

    @pytest.fixture
    def missing(self, base: Path) -> Source:
        """A source that is not there."""
        raise NotImplementedError("override the fixture 'missing'")

    @pytest.fixture
    def base(self, tmp_path: Path) -> Path:
        """The project's directory."""
        base = tmp_path / "project"
        base.mkdir()
        return base

    @pytest.fixture
    def into(self, tmp_path: Path) -> Path:
        """The run's directory, with something in it."""
        into = tmp_path / "run"
        into.mkdir()
        (into / "own.txt").write_text("the run's own")
        return into

    @pytest.fixture
    def runs(self) -> RunReader:
        """Other runs: none. Override it if the resolver looks for some."""
        return FakeRuns({})

    async def test_what_it_names_is_there(
        self, opener: ResolverOpener, source: Source, into: Path, runs: RunReader
    ) -> None:
        async with opener() as resolver:
            resolved = await resolver.resolve(source, into, runs)

        assert bool(resolved.paths) is self.provides_files, "it named nothing that it provided"
        for path in resolved.paths:
            assert not os.path.isabs(path)
            assert ".." not in Path(path).parts
            assert (into / path).exists(), f"'{path}' is not there, or is a link to nothing"

    async def test_what_it_warns_of_is_said_in_lines(
        self, opener: ResolverOpener, source: Source, into: Path, runs: RunReader
    ) -> None:
        async with opener() as resolver:
            resolved = await resolver.resolve(source, into, runs)

        assert isinstance(resolved.warnings, tuple), "warnings are a tuple of texts"
        for warning in resolved.warnings:
            assert warning.strip(), "it warns of nothing"
            assert warning.isprintable(), f"{warning!r} is not one line of text"

    async def test_writes_nowhere_but_into_the_run(
        self, opener: ResolverOpener, source: Source, into: Path, runs: RunReader, tmp_path: Path
    ) -> None:
        before = {path: entry for path, entry in snapshot(tmp_path).items() if not path.startswith("run/")}
        async with opener() as resolver:
            await resolver.resolve(source, into, runs)
        after = {path: entry for path, entry in snapshot(tmp_path).items() if not path.startswith("run/")}

        assert after == before

    async def test_leaves_what_it_does_not_provide_alone(
        self, opener: ResolverOpener, source: Source, into: Path, runs: RunReader
    ) -> None:
        async with opener() as resolver:
            resolved = await resolver.resolve(source, into, runs)
        provided = {Path(path).parts[0] for path in resolved.paths}

        assert set(os.listdir(into)) == {"own.txt", *provided}, "it left something that it did not name"
        assert (into / "own.txt").read_text() == "the run's own"

    async def test_resolving_again_gives_the_same_and_changes_nothing(
        self, opener: ResolverOpener, source: Source, into: Path, runs: RunReader
    ) -> None:
        async with opener() as resolver:
            first = await resolver.resolve(source, into, runs)
            before = snapshot(into)
            again = await resolver.resolve(source, into, runs)
        async with opener() as other:
            elsewhere = await other.resolve(source, into, runs)

        assert (again, elsewhere) == (first, first)
        assert snapshot(into) == before

    async def test_never_writes_through_a_link_that_leads_out_of_the_run(
        self, opener: ResolverOpener, source: Source, into: Path, runs: RunReader, tmp_path: Path
    ) -> None:
        trap = tmp_path / "trap"
        victim = tmp_path / "victim"
        trap.mkdir()
        victim.mkdir()
        (victim / "file").write_text("precious")
        async with opener() as resolver:
            resolved = await resolver.resolve(source, into, runs)
            for number, path in enumerate(resolved.paths):
                (trap / path).parent.mkdir(parents=True, exist_ok=True)
                (trap / path).symlink_to(victim if (into / path).is_dir() else victim / f"file{number or ''}")
            before = snapshot(victim)
            try:
                await resolver.resolve(source, trap, runs)
            except ResolveError:
                pass  # to refuse is as good

        assert snapshot(victim) == before

    async def test_a_missing_source_is_a_resolve_error_and_leaves_nothing(
        self, opener: ResolverOpener, missing: Source, into: Path, runs: RunReader
    ) -> None:
        before = snapshot(into)
        async with opener() as resolver:
            with pytest.raises(ResolveError):
                await resolver.resolve(missing, into, runs)

        assert snapshot(into) == before

    @pytest.mark.parametrize("delay", _DELAYS)
    async def test_cancelled_it_leaves_all_or_nothing_and_can_be_done_again(
        self,
        opener: ResolverOpener,
        source: Source,
        into: Path,
        runs: RunReader,
        tmp_path: Path,
        delay: float,
    ) -> None:
        whole = tmp_path / "whole"
        whole.mkdir()
        async with opener() as resolver:
            expected = await resolver.resolve(source, whole, runs)
        before = contents(into)
        async with opener() as resolver:
            with anyio.move_on_after(delay):
                await resolver.resolve(source, into, runs)
            found = contents(into)

            assert found in (before, {**before, **contents(whole)}), "a part of it was left behind"
            assert (await resolver.resolve(source, into, runs)) == expected

    async def test_a_cancellation_is_not_turned_into_an_error(
        self, opener: ResolverOpener, source: Source, into: Path, runs: RunReader
    ) -> None:
        raised: BaseException | None = None
        async with opener() as resolver:
            with anyio.CancelScope() as scope:
                scope.cancel()
                try:
                    await resolver.resolve(source, into, runs)
                except BaseException as error:
                    raised = error
                    raise

        assert raised is None or isinstance(raised, anyio.get_cancelled_exc_class())


class HostileSourcesContract:
    """For resolvers whose source can be given names that lead astray."""

    @pytest.fixture
    def hostile(self, base: Path) -> Sequence[Source]:
        """Sources that must be refused."""
        raise NotImplementedError("override the fixture 'hostile'")

    async def test_a_hostile_source_is_refused_and_leaves_nothing(
        self,
        opener: ResolverOpener,
        hostile: Sequence[Source],
        into: Path,
        runs: RunReader,
        tmp_path: Path,
    ) -> None:
        before = snapshot(tmp_path)
        for source in hostile:
            async with opener() as resolver:
                with pytest.raises(ResolveError):
                    await resolver.resolve(source, into, runs)

            assert snapshot(tmp_path) == before, f"{source.value!r} left something behind"


def snapshot(folder: Path) -> Snapshot:
    """All that is below ``folder``, by relative path: kind, permissions, content or the target of a link."""
    found: Snapshot = {}
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            mode = path.lstat().st_mode & 0o777
            if path.is_symlink():
                entry = ("link", 0, os.readlink(path))
            elif path.is_dir():
                entry = ("folder", mode, b"")
            else:
                entry = ("file", mode, path.read_bytes() if path.is_file() else b"")
            found[str(path.relative_to(folder))] = entry
    return found


def contents(folder: Path) -> dict[str, tuple[str, str | bytes]]:
    """As of :func:`snapshot`, without permissions, and with links as what they lead to."""
    root = f"{os.path.realpath(folder)}{os.sep}"
    return {
        path: (kind, os.path.realpath(folder / path).removeprefix(root) if kind == "link" else content)
        for path, (kind, _, content) in snapshot(folder).items()
    }
