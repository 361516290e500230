"""The built-in resolvers keep their contract, and what is particular to each."""

from __future__ import annotations

import hashlib
import os
import stat
from functools import partial
from pathlib import Path

import anyio
import pytest

from orchestra.builtin import resolver_file, resolver_operation
from orchestra.contracts import Source
from orchestra.errors import ResolveError
from orchestra.model.run import ResolvedSource, Run
from orchestra.placing import steps
from orchestra.placing.copying import copy_into
from orchestra.testing.builders import a_run, an_operation
from orchestra.testing.resolvers import FakeRuns, HostileSourcesContract, ResolverContract, snapshot

NO_RUNS = FakeRuns({})


def file_source(value: str, base: Path) -> Source:
    return Source(scheme="file", value=value, base=base)


class TestFile(HostileSourcesContract, ResolverContract):
    @pytest.fixture
    def opener(self):
        return partial(resolver_file.open_resolver, resolver_file.Options())

    @pytest.fixture
    def source(self, base):
        (base / "data").mkdir()
        (base / "data" / "small.csv").write_bytes(b"1,2\n")
        return file_source("data/small.csv", base)

    @pytest.fixture
    def missing(self, base):
        return file_source("data.csv", base)

    @pytest.fixture
    def hostile(self, base):
        values = ("", ".", "..", "/", "a/..", "x\0y", ".orchestra", "../project/.orchestra", "pipe")
        os.mkfifo(base / "pipe")
        (base / ".orchestra").mkdir()
        return [file_source(value, base) for value in values]


class TestFileThatTakesLong(TestFile):
    """Each step is done in a thread, as if the file were huge."""

    @pytest.fixture(autouse=True)
    def slowly(self, monkeypatch):
        monkeypatch.setattr(steps, "_INLINE", 0.0)
        monkeypatch.setattr(steps, "_SLICE", 0.0)

    @pytest.fixture
    def source(self, base):
        (base / "big.bin").write_bytes(os.urandom(1000) * 5000)
        return file_source(str(base / "big.bin"), base)


class TestFolder(TestFileThatTakesLong):
    @pytest.fixture
    def source(self, base):
        for name in ("a/one.txt", "a/b/two.txt", "c/three.txt"):
            (base / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
            (base / "tree" / name).write_text(name)
        (base / "tree" / "empty").mkdir()
        (base / "tree" / "link").symlink_to("a/one.txt")
        return file_source("tree", base)


class TestLinkedFile(TestFile):
    @pytest.fixture
    def opener(self):
        return partial(resolver_file.open_resolver, resolver_file.Options(target="link"))


class TestOperation(HostileSourcesContract, ResolverContract):
    @pytest.fixture
    def opener(self):
        return partial(resolver_operation.open_resolver, resolver_operation.Options())

    @pytest.fixture
    def runs(self, tmp_path):
        return FakeRuns(dict([made(tmp_path, "train.py", "model.bin", "plots/a.png")]))

    @pytest.fixture
    def source(self, base):
        return Source(scheme="operation", value="train.py", base=base)

    @pytest.fixture
    def missing(self, base):
        return Source(scheme="operation", value="prepare.py", base=base)

    @pytest.fixture
    def hostile(self, base):
        return [Source(scheme="operation", value=value, base=base) for value in ("", "..", "../../etc", "*")]


class TestOperationFolder(TestOperation):
    @pytest.fixture
    def opener(self):
        return partial(resolver_operation.open_resolver, resolver_operation.Options(layout="folder"))


def made(folder: Path, operation: str, *files: str, **fields) -> tuple[str, tuple[Run, Path]]:
    """A completed run with its directory and files."""
    run = a_run(operation=an_operation(name=operation, main=operation), **{"state": "completed", **fields})
    directory = folder / "runs" / run.id
    (directory / ".orchestra").mkdir(parents=True)
    for name in (operation, *files):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(f"{name} of {run.id}")
    return run.id, (run, directory)


def resolve_file(value: str, base: Path, into: Path, **options):
    resolver = resolver_file.FileResolver(resolver_file.Options(**options))
    return anyio.run(resolver.resolve, file_source(value, base), into, NO_RUNS)


@pytest.fixture
def base(tmp_path):
    base = tmp_path / "project"
    base.mkdir()
    return base


@pytest.fixture
def into(tmp_path):
    into = tmp_path / "into"
    into.mkdir()
    return into


class TestFileCopies:
    def test_a_copy_has_the_content_time_and_permissions_and_a_digest(self, base, into):
        file = base / "tool.sh"
        file.write_bytes(b"#!/bin/sh\n")
        file.chmod(0o755)
        os.utime(file, (1e9, 1e9))

        resolved = resolve_file("tool.sh", base, into)
        copied = (into / "tool.sh").stat()

        assert (resolved.paths, resolved.origin) == (("tool.sh",), str(file))
        assert resolved.digest == f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
        assert (stat.S_IMODE(copied.st_mode), copied.st_mtime) == (0o755, 1e9)
        assert not (into / "tool.sh").is_symlink()

    def test_a_read_only_file_can_be_resolved_again(self, base, into):
        (base / "data").write_text("x")
        (base / "data").chmod(0o400)

        resolve_file("data", base, into)
        resolve_file("data", base, into)

        assert (into / "data").read_text() == "x"

    def test_a_small_file_is_copied_without_suspending(self, base, into):
        (base / "data").write_text("x")
        resolver = resolver_file.FileResolver(resolver_file.Options())

        with pytest.raises(StopIteration):
            resolver.resolve(file_source("data", base), into, NO_RUNS).send(None)

    def test_a_missing_file_is_named_as_it_was_given_and_as_it_was_looked_for(self, base, into):
        with pytest.raises(ResolveError) as error:
            resolve_file("no/data.csv", base, into)

        assert error.value.message == "cannot find source file 'no/data.csv'"
        assert str(base / "no/data.csv") in str(error.value.hint)

    def test_a_file_that_changed_is_provided_anew(self, base, into):
        (base / "data").write_text("old")
        first = resolve_file("data", base, into)
        (base / "data").write_text("new")
        second = resolve_file("data", base, into)

        assert (into / "data").read_text() == "new"
        assert first.digest != second.digest

    def test_resolving_a_folder_again_keeps_what_the_run_has_added_to_it(self, base, into):
        (base / "out").mkdir()
        (base / "out" / "seed").write_text("1")
        resolve_file("out", base, into)
        (into / "out" / "result").write_text("precious")
        resolve_file("out", base, into)

        assert (into / "out" / "result").read_text() == "precious"

    def test_a_folder_has_one_digest_for_its_names_and_contents(self, base, into):
        (base / "tree").mkdir()
        (base / "tree" / "a").write_text("1")
        first = resolve_file("tree", base, into)
        (base / "tree" / "a").rename(base / "tree" / "b")
        renamed = resolve_file("tree", base, into)
        (base / "tree" / "b").write_text("2")
        changed = resolve_file("tree", base, into)

        assert len({first.digest, renamed.digest, changed.digest}) == 3

    def test_links_inside_of_a_folder_stay_links_and_others_are_followed(self, base, into):
        (base / "elsewhere").write_text("there")
        tree = base / "tree"
        (tree / "sub").mkdir(parents=True)
        (tree / "file").write_text("here")
        (tree / "sub" / "inside").symlink_to("../file")
        (tree / "sub" / "outside").symlink_to("../../elsewhere")
        (tree / "absolute").symlink_to(tree / "file")
        resolve_file("tree", base, into)
        copied = into / "tree"

        assert os.readlink(copied / "sub" / "inside") == "../file"
        assert not (copied / "sub" / "outside").is_symlink()
        assert (copied / "sub" / "outside").read_text() == "there"
        assert not (copied / "absolute").is_symlink()

    @pytest.mark.parametrize("target", ["..", "../..", "."])
    def test_a_folder_that_leads_to_itself_is_refused(self, base, into, target):
        (base / "tree" / "sub").mkdir(parents=True)
        (base / "tree" / "sub" / "up").symlink_to((base / "tree" / "sub" / target).resolve())

        with pytest.raises(ResolveError, match="a link to a folder that holds it"):
            resolve_file("tree", base, into)
        assert os.listdir(into) == []

    def test_a_folder_that_holds_the_runs_directory_is_refused(self, base):
        into = base / ".orchestra" / "runs" / "1"
        into.mkdir(parents=True)

        with pytest.raises(ResolveError, match="which is a part of it"):
            resolve_file("../project", base, into)
        assert os.listdir(into) == []

    @pytest.mark.parametrize("kind", ["pipe", "dangling"])
    def test_a_folder_with_something_that_is_no_file_is_refused_and_leaves_nothing(self, base, into, kind):
        (base / "tree").mkdir()
        (base / "tree" / "a").write_text("1")
        if kind == "pipe":
            os.mkfifo(base / "tree" / "x")
        else:
            (base / "tree" / "x").symlink_to("/nowhere/at/all")

        with pytest.raises(ResolveError, match="neither a file nor a folder"):
            resolve_file("tree", base, into)
        assert os.listdir(into) == []

    @pytest.mark.parametrize(("have", "want"), [("file", "folder"), ("folder", "file")])
    def test_what_the_run_has_of_that_name_is_not_replaced_by_another_kind(self, base, into, have, want):
        for folder, kind in ((base, want), (into, have)):
            (folder / "x").mkdir() if kind == "folder" else (folder / "x").write_text("own")
        before = snapshot(into)

        with pytest.raises(ResolveError):
            resolve_file("x", base, into)
        assert snapshot(into) == before

    def test_a_full_disk_is_told_in_the_systems_words(self, base, tmp_path):
        (base / "data").write_text("x")

        with pytest.raises(ResolveError, match="cannot copy 'data': No such file or directory"):
            resolve_file("data", base, tmp_path / "not" / "there")

    def test_a_copy_that_is_stopped_halfway_leaves_nothing(self, base, into):
        (base / "data").write_bytes(b"x" * (5 << 20))
        steps = copy_into(base / "data", into / "data")
        next(steps)
        assert os.listdir(into) != []

        steps.close()

        assert os.listdir(into) == []

    def test_a_link_is_made_when_asked_for(self, base, into):
        (base / "data").write_text("x")

        resolved = resolve_file("data", base, into, target="link")

        assert os.readlink(into / "data") == "../project/data"
        assert resolved.digest is None

    def test_a_link_does_not_replace_a_file_of_the_run(self, base, into):
        (base / "data").write_text("x")
        (into / "data").write_text("own")

        with pytest.raises(ResolveError, match="is there already, and is no link"):
            resolve_file("data", base, into, target="link")
        assert (into / "data").read_text() == "own"


class TestOperationRuns:
    @pytest.fixture
    def resolve(self, into, base):
        def resolve_operation(value: str, *known, **options):
            resolver = resolver_operation.OperationResolver(resolver_operation.Options(**options))
            source = Source(scheme="operation", value=value, base=base)
            return anyio.run(resolver.resolve, source, into, FakeRuns(dict(known)))

        return resolve_operation

    def test_the_newest_completed_run_of_the_name_is_taken(self, tmp_path, resolve):
        old = made(tmp_path, "up.py", "out")
        new = made(tmp_path, "up.py", "out")
        other = made(tmp_path, "other.py", "out")
        failed = made(tmp_path, "up.py", "out", state="error")

        assert resolve("up.py", old, new, other, failed).origin == new[0]

    def test_only_what_the_run_made_is_linked(self, tmp_path, resolve, into):
        borrowed = (ResolvedSource(source="file:d", paths=("d",)), ResolvedSource(source="x", paths=("e/f",)))
        run = made(tmp_path, "up.py", "out", "d", "e/f", "plots/a.png", resolved=borrowed)

        resolved = resolve("up.py", run)

        assert resolved.paths == ("out", "plots")
        assert os.readlink(into / "out") == f"../runs/{run[0]}/out"
        assert (into / "plots" / "a.png").read_text() == f"plots/a.png of {run[0]}"
        assert sorted(os.listdir(into)) == ["out", "plots"]

    def test_the_runs_own_files_are_not_replaced(self, tmp_path, resolve, into):
        (into / "shared.py").write_text("own")

        resolved = resolve("up.py", made(tmp_path, "up.py", "shared.py", "out"))

        assert resolved.paths == ("out",)
        assert (into / "shared.py").read_text() == "own"

    def test_a_newer_run_replaces_the_links_to_an_older_one(self, tmp_path, resolve, into):
        old = made(tmp_path, "up.py", "out")
        resolve("up.py", old)
        new = made(tmp_path, "up.py", "out")
        resolve("up.py", old, new)

        assert (into / "out").read_text() == f"out of {new[0]}"

    def test_the_whole_run_is_linked_under_its_operations_name_when_asked_for(self, tmp_path, resolve, into):
        run = made(tmp_path, "up.py", "out")

        resolved = resolve("up.py", run, layout="folder")

        assert resolved.paths == ("up.py",)
        assert (into / "up.py" / "out").read_text() == f"out of {run[0]}"

    def test_a_run_is_chosen_by_the_beginning_of_its_id(self, tmp_path, resolve):
        one = made(tmp_path, "up.py", "out", id="aaaa1111")
        two = made(tmp_path, "up.py", "out", id="bbbb2222")

        assert resolve("aaaa", one, two).origin == "aaaa1111"
        assert resolve("bbbb2222", one, two).origin == "bbbb2222"

    def test_a_run_that_is_named_with_its_operation_must_be_of_it(self, tmp_path, resolve):
        one = made(tmp_path, "up.py", "out", id="aaaa1111")
        two = made(tmp_path, "up.py", "out", id="bbbb2222")
        other = made(tmp_path, "other.py", "out", id="cccc3333")

        assert resolve("up.py=aaaa", one, two, other).origin == "aaaa1111"
        assert resolve("down.py,up.py=aaaa1111", one, two, other).origin == "aaaa1111"
        assert resolve("other.*=other.py", one, two, other).origin == "cccc3333"
        for spec in ("cccc", "cccc3333", "other.py"):
            with pytest.raises(ResolveError, match=r"^run cccc3333 is of other\.py, not of up\.py$"):
                resolve(f"up.py={spec}", one, two, other)
        with pytest.raises(ResolveError, match="^no suitable run for dddd$"):
            resolve("up.py=dddd", one, two, other)
        for value in ("=aaaa", "up.py=", "="):
            with pytest.raises(ResolveError, match="does not name both an operation and a run"):
                resolve(value, one, two, other)

    def test_a_whole_id_wins_over_those_that_begin_with_it(self, tmp_path, resolve):
        runs = [made(tmp_path, "up.py", id=name) for name in ("aaaa", "aaaa1")]

        assert resolve("aaaa", *runs).origin == "aaaa"

    def test_an_ambiguous_beginning_is_answered_with_the_candidates(self, tmp_path, resolve):
        runs = [made(tmp_path, "up.py", id=name) for name in ("aaaa1111", "aaaa2222")]

        with pytest.raises(ResolveError, match="several runs: aaaa2222, aaaa1111"):
            resolve("aaaa", *runs)

    def test_no_suitable_run_is_said_in_the_predecessors_words(self, tmp_path, resolve):
        with pytest.raises(ResolveError) as error:
            resolve("up.py", made(tmp_path, "up.py", state="staged"))

        assert error.value.message == "no suitable run for up.py"

    @pytest.mark.parametrize("state", ["staged", "pending", "running", "error", "terminated", "lost"])
    def test_a_chosen_run_that_did_not_complete_is_named_with_its_state(self, tmp_path, resolve, state):
        with pytest.raises(ResolveError, match=rf"run aaaa1111 of up\.py is {state}"):
            resolve("aaaa", made(tmp_path, "up.py", id="aaaa1111", state=state))

    def test_queues_and_batches_are_no_operations_whose_files_could_be_used(self, tmp_path, resolve):
        with pytest.raises(ResolveError, match="no suitable run"):
            resolve("up.py", made(tmp_path, "up.py", kind="batch"))

    def test_a_run_whose_files_are_gone_is_named(self, tmp_path, resolve):
        run = made(tmp_path, "up.py", id="aaaa1111")
        run[1][1].rename(tmp_path / "moved")

        with pytest.raises(ResolveError, match="the files of run aaaa1111 are gone"):
            resolve("up.py", run)

    def test_a_run_is_found_behind_many_others(self, tmp_path, resolve):
        wanted = made(tmp_path, "up.py", "out")
        many = [(run.id, (run, tmp_path)) for run in (a_run(state="completed") for _ in range(450))]

        assert resolve("up.py", wanted, *many).origin == wanted[0]
