from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra.errors import HomeError, ScriptError
from orchestra.workspace import copies, file_kinds, source, walk
from orchestra.workspace.manifest import write_manifest

from .samples import run_python


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


def fill(project: Path, *paths: str, content: bytes = b"text\n") -> None:
    for path in paths:
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_bytes(content)


def copy_source(project: Path, into: Path, **options: Any) -> source.Selection:
    """What is copied of a project."""
    excluded = (*options.pop("excluded", ()), into)
    selection = source.select(project, excluded=excluded, **options)
    copies.copy_selection(selection, into)
    return selection


def test_text_files_are_copied_with_their_folders_and_modes(project: Path, tmp_path: Path) -> None:
    fill(project, "say.py", "lib/a.py", "lib/deep/b.txt", "README", ".gitignore", "empty")
    (project / "say.py").chmod(0o755)
    (project / "README").chmod(0o444)
    (project / "empty").write_bytes(b"")
    result = copy_source(project, tmp_path / "run")
    assert result.paths == (".gitignore", "README", "empty", "lib/a.py", "lib/deep/b.txt", "say.py")
    assert (tmp_path / "run/lib/deep/b.txt").read_bytes() == b"text\n"
    assert stat.S_IMODE((tmp_path / "run/say.py").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "run/README").stat().st_mode) == 0o444
    assert (result.skipped, result.warnings) == ((), ())


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".hidden/a.py",
        ".orchestra/runs/x/run.json",
        ".guild/x",
        ".aws/credentials",
        "__pycache__/a.py",
        "build/a.py",
        "lib/dist/a.py",
        "x.egg-info/PKG-INFO",
        ".env",
        ".env.local",
        ".netrc",
        "keys/server.pem",
        "id_rsa",
        "id_ed25519",
        "lib/private.key",
    ],
)
def test_hidden_folders_builds_and_secrets_stay_out(project: Path, path: str) -> None:
    fill(project, "say.py", path)
    assert source.select(project).paths == ("say.py",)


@pytest.mark.parametrize(
    "path", [".env.example", "id_rsa.pub", "id_map.py", "keys.py", "builder/a.py", "a/env.py"]
)
def test_what_only_resembles_those_is_copied(project: Path, path: str) -> None:
    fill(project, path)
    assert source.select(project).paths == (path,)


@pytest.mark.parametrize(
    "mark",
    [
        ".orchestra-nocopy",
        ".guild-nocopy",
        "bin/activate",
        "Scripts/activate",
        "pyvenv.cfg",
        ".orchestra/run.json",
        ".guild/attrs/id",
    ],
)
def test_a_folder_that_is_marked_or_an_environment_or_a_run_stays_out(project: Path, mark: str) -> None:
    fill(project, "say.py", "data/a.py", "data/deep/b.py", f"data/{mark}")
    assert source.select(project).paths == ("say.py",)


@pytest.mark.parametrize("mark", walk.NOCOPY)
def test_a_project_that_is_marked_itself_gives_only_the_script(project: Path, mark: str) -> None:
    fill(project, "say.py", "other.py", mark)
    assert source.select(project, always=("say.py",)).paths == ("say.py",)


def test_a_home_or_run_inside_of_the_project_stays_out(project: Path, tmp_path: Path) -> None:
    fill(project, "say.py", "home/runs/x/say.py", "out/x.txt")
    (project / "link").symlink_to(project / "home")
    selection = source.select(project, excluded=(project / "home", tmp_path / "missing"))
    assert selection.paths == ("out/x.txt", "say.py")
    assert copy_source(project, project / "out", excluded=(project / "home",)).paths == ("say.py",)


@pytest.mark.parametrize(
    ("content", "is_text"),
    [
        (b"", True),
        (b"a = 1\r\n\tb\x1b[0m\x0c", True),
        ("ünïcödé ☃".encode() * 3000, True),
        ("# größer als früher\n".encode("latin-1"), True),
        ("größe".encode("utf-16"), True),
        (b"\xef\xbb\xbfbom", True),
        (b"a\0b", False),
        (bytes(range(1, 256)), False),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", False),
        (bytes(range(128, 256)) * 10, False),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nabc", False),
    ],
)
def test_text_is_told_from_other_files(project: Path, content: bytes, is_text: bool) -> None:
    fill(project, "file", content=content)
    assert source.select(project).paths == (("file",) if is_text else ())


def test_a_letter_cut_by_the_end_of_what_is_looked_at_is_no_damage(project: Path) -> None:
    fill(project, "a", content=b"x" * 8191 + "é".encode())
    assert source.select(project).paths == ("a",)


def test_files_above_the_size_limit_are_skipped_with_one_warning(project: Path) -> None:
    fill(project, "fits", content=b"x" * (1 << 20))
    fill(project, "big1", "big2", content=b"x" * ((1 << 20) + 1))
    selection = source.select(project)
    assert selection.paths == ("fits",)
    assert selection.skipped == ("big1", "big2")
    (warning,) = selection.warnings
    assert warning.startswith("Skipping source code file big1 and 1 more because they're too big. To control")


def test_files_above_the_count_limit_are_skipped_with_one_warning(project: Path) -> None:
    fill(project, *(f"{n:03}.py" for n in range(101)), "zlib/a.py")
    selection = source.select(project, always=("zlib/a.py",))
    assert selection.paths == (*(f"{n:03}.py" for n in range(100)), "zlib/a.py")
    (warning,) = selection.warnings
    assert warning == (
        "Found more than 100 source code files but will only copy 100 as a safety measure. To control which "
        "files are copied, define 'sourcecode' for the operation in a project file."
    )


def test_exactly_as_many_files_as_allowed_need_no_warning(project: Path) -> None:
    fill(project, *(f"{n:03}.py" for n in range(100)))
    (project / "z.bin").write_bytes(b"\0")
    selection = source.select(project)
    assert (len(selection.files), selection.warnings) == (100, ())


def test_the_limits_can_be_set_by_the_environment(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(project, "a", "b", "c")
    fill(project, "0", content=b"123456")
    monkeypatch.setenv("MAX_DEFAULT_SOURCECODE_COUNT", "2")
    monkeypatch.setenv("MAX_DEFAULT_SOURCECODE_FILE_SIZE", "5")
    selection = source.select(project)
    assert selection.paths == ("a", "b")
    assert len(selection.warnings) == 2


def test_a_huge_folder_does_not_hold_up_a_run(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "MAX_LOOKED_AT", 50)
    fill(project, *(f"data/{n}" for n in range(60)), content=b"\0")
    fill(project, "a.py", "z.py")
    selection = source.select(project)
    assert selection.paths == ("a.py", "z.py")
    assert "Looked at" in selection.warnings[0]


@pytest.mark.parametrize("path", ["big", "binary", ".hidden/tool", "build/tool", "id_rsa", "./lib/../big"])
def test_the_script_is_copied_whatever_the_rules_say(project: Path, path: str) -> None:
    fill(project, "big", content=b"\0" * (2 << 20))
    fill(project, "binary", content=b"\x7fELF\0")
    fill(project, ".hidden/tool", "build/tool", "id_rsa", "lib/x")
    assert os.path.normpath(path) in source.select(project, always=(path,)).paths


@pytest.mark.parametrize(
    "path", ["missing.py", "folder", "../outside.py", "/etc/hostname", "a/../../outside.py"]
)
def test_a_script_that_is_not_in_the_project_is_refused(project: Path, path: str) -> None:
    (project / "folder").mkdir()
    (project.parent / "outside.py").write_text("")
    with pytest.raises(ScriptError, match=os.path.basename(path)):
        source.select(project, always=(path,))


def test_links_are_followed_but_never_in_circles(project: Path, tmp_path: Path) -> None:
    fill(tmp_path, "shared/lib.py", "shared/deep/x.py")
    fill(project, "say.py", "sub/a.py")
    (project / "alias.py").symlink_to("say.py")
    (project / "lib").symlink_to(tmp_path / "shared")
    (project / "sub" / "up").symlink_to("..")
    (project / "sub" / "self").symlink_to(".")
    (tmp_path / "shared" / "back").symlink_to(project)
    (project / "dangling").symlink_to("nowhere")
    (project / "loop").symlink_to("loop")
    (project / "notes").symlink_to(tmp_path / ".netrc")
    fill(tmp_path, ".netrc")
    result = copy_source(project, tmp_path / "run")
    assert result.paths == ("alias.py", "lib/deep/x.py", "lib/lib.py", "say.py", "sub/a.py")
    assert not any(path.is_symlink() for path in (tmp_path / "run").rglob("*"))


def test_pipes_and_sockets_are_never_opened(project: Path) -> None:
    os.mkfifo(project / "pipe")
    (project / "zero").symlink_to("/dev/zero")
    assert source.select(project).paths == ()


def test_the_digest_is_that_of_sorted_paths_and_contents(project: Path, tmp_path: Path) -> None:
    fill(project, "b.py", content=b"two")
    fill(project, "a/é.py", content=b"one\0")
    fill(project, "a.py", content=b"")
    expected = hashlib.md5(b"a.py\0\0" + "a/é.py".encode() + b"\0one\0\0" + b"b.py\0two\0").hexdigest()
    result = copy_source(project, tmp_path / "run", always=("a/é.py",))
    assert result.digest == expected
    write_manifest(tmp_path / "run", result.manifest)
    assert source.select_copied(tmp_path / "run").digest == expected


def test_nothing_has_no_digest(project: Path, tmp_path: Path) -> None:
    result = copy_source(project, tmp_path / "run")
    assert (result.paths, result.digest) == ((), None)


names = st.binary(min_size=1, max_size=12).filter(lambda name: not set(name) & set(b"/\0") and name[0] != 46)


@settings(max_examples=40, deadline=None)
@given(files=st.dictionaries(st.tuples(names, names), st.text(max_size=30), max_size=6))
def test_files_of_any_name_are_copied_as_they_are(
    tmp_path_factory: pytest.TempPathFactory, files: dict[tuple[bytes, bytes], str]
) -> None:
    base = os.fsencode(tmp_path_factory.mktemp("base"))
    expected: dict[str, bytes] = {}
    for (folder, name), text in files.items():
        os.makedirs(os.path.join(base, b"project", b"d" + folder), exist_ok=True)
        with open(os.path.join(base, b"project", b"d" + folder, b"f" + name), "w") as file:
            file.write(text.replace("\0", ""))
        with open(os.path.join(base, b"project", b"d" + folder, b"f" + name), "rb") as file:
            if file_kinds.is_text(content := file.read()):
                expected[os.fsdecode(b"d" + folder + b"/f" + name)] = content
    root = Path(os.fsdecode(base))
    expected = {path: content for path, content in expected.items() if ".egg-info/" not in path}
    result = copy_source(root / "project", root / "run")
    assert {path: (root / "run" / path).read_bytes() for path in result.paths} == expected
    write_manifest(root / "run", result.manifest)
    assert source.select_copied(root / "run").digest == result.digest


def test_trials_have_copies_of_their_own_and_the_source_of_when_it_was_selected(
    project: Path, tmp_path: Path
) -> None:
    fill(project, "say.py", content=b"before")
    selection = source.select(project)
    copies.copy_selection(selection, tmp_path / "1")
    (tmp_path / "1" / "say.py").write_bytes(b"overwritten by its run")
    fill(project, "say.py", content=b"after")
    copies.copy_selection(selection, tmp_path / "2")
    assert (tmp_path / "2" / "say.py").read_bytes() == b"before"
    assert (project / "say.py").read_bytes() == b"after"


def test_a_copy_replaces_links_instead_of_writing_through_them(project: Path, tmp_path: Path) -> None:
    fill(project, "say.py", "lib/a.py", content=b"ours")
    fill(tmp_path, "theirs", content=b"theirs")
    fill(tmp_path, "run/lib/x")
    fill(project, "data/a.py", content=b"ours")
    fill(tmp_path, "elsewhere/a.py", content=b"theirs")
    (tmp_path / "run" / "data").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "run" / "say.py").symlink_to(tmp_path / "theirs")
    os.link(tmp_path / "theirs", tmp_path / "run" / "lib" / "a.py")
    copies.copy_selection(source.select(project), tmp_path / "run")
    assert (tmp_path / "theirs").read_bytes() == b"theirs"
    assert (tmp_path / "elsewhere" / "a.py").read_bytes() == b"theirs"
    assert (tmp_path / "run" / "data" / "a.py").read_bytes() == b"ours"
    assert (tmp_path / "run" / "say.py").read_bytes() == b"ours"
    assert (tmp_path / "run" / "lib" / "a.py").read_bytes() == b"ours"


def test_a_folder_in_the_place_of_a_file_is_an_error_that_names_it(project: Path, tmp_path: Path) -> None:
    fill(project, "say.py")
    (tmp_path / "run" / "say.py").mkdir(parents=True)
    with pytest.raises(HomeError, match=r"run/say\.py'"):
        copies.copy_selection(source.select(project), tmp_path / "run")


def test_big_files_are_copied_whole_and_must_not_have_changed(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "HELD", 1000)
    content = os.urandom(3 << 20)
    fill(project, "model.bin", content=content)
    fill(project, "say.py")
    (project / "model.bin").chmod(0o750)
    selection = source.select(project, always=("model.bin",))
    assert selection.digest == hashlib.md5(b"model.bin\0" + content + b"\0say.py\0text\n\0").hexdigest()
    assert [file.content for file in selection.files] == [None, b"text\n"]
    for name in ("1", "2"):
        copies.copy_selection(selection, tmp_path / name)
        assert (tmp_path / name / "model.bin").read_bytes() == content
        assert stat.S_IMODE((tmp_path / name / "model.bin").stat().st_mode) == 0o750
    with (project / "model.bin").open("r+b") as file:
        file.write(b"x")
    with pytest.raises(ScriptError, match="changed while it was being copied") as caught:
        copies.copy_selection(selection, tmp_path / "3")
    assert caught.value.hint
    (project / "model.bin").unlink()
    with pytest.raises(ScriptError, match="No such file"):
        copies.copy_selection(selection, tmp_path / "4")


def test_of_a_file_that_grows_what_was_there_at_first_is_copied(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"x" * 100_000
    fill(project, "log", content=content)
    read = os.read

    def read_and_write(descriptor: int, size: int) -> bytes:
        with (project / "log").open("ab") as file:
            file.write(b"more" * 1000)
        return read(descriptor, size)

    monkeypatch.setattr(source.os, "read", read_and_write)
    result = copy_source(project, tmp_path / "run")
    assert result.digest == hashlib.md5(b"log\0" + content + b"\0").hexdigest()
    assert (tmp_path / "run" / "log").read_bytes() == content
    assert result.warnings == ()


@pytest.mark.parametrize("before", [b"", b"different"])
def test_a_big_file_may_grow_after_it_was_selected_but_not_change(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bytes
) -> None:
    monkeypatch.setattr(source, "HELD", 1000)
    content = os.urandom(3 << 20)
    fill(project, "model.bin", content=content)
    selection = source.select(project, always=("model.bin",))
    with (project / "model.bin").open("r+b") as file:
        file.write(before)
        file.seek(0, os.SEEK_END)
        file.write(b"more")
    if before:
        with pytest.raises(ScriptError, match="changed while it was being copied"):
            copies.copy_selection(selection, tmp_path / "1")
        return
    copies.copy_selection(selection, tmp_path / "1")
    assert (tmp_path / "1" / "model.bin").read_bytes() == content


def test_a_file_that_keeps_changing_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(project, "table", content=b"x" * 100)
    read = os.read
    times = iter(range(1, 100))

    def read_and_change(descriptor: int, size: int) -> bytes:
        os.utime(project / "table", ns=(0, next(times)))
        return read(descriptor, size)

    monkeypatch.setattr(source.os, "read", read_and_change)
    with pytest.raises(ScriptError, match="table' changed while it was being copied"):
        source.select(project)


def test_blocks_are_shared_where_the_file_system_can(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared: list[int] = []

    def clone(from_file: int, to_file: int) -> bool:
        content = os.pread(from_file, 1 << 20, 0)
        shared.append(len(content))
        os.pwrite(to_file, content, 0)
        return True

    monkeypatch.setattr(copies, "clone", clone)
    fill(project, "big.py", content=b"x" * 5000)
    fill(project, "small.py", "stale.py")
    fill(project, "stale.py", content=b"y" * 5000)
    selection = source.select(project)
    fill(project, "stale.py", content=b"z" * 5000)
    copies.copy_selection(selection, tmp_path / "run")
    assert shared == [5000, 5000]
    assert (tmp_path / "run" / "big.py").read_bytes() == b"x" * 5000
    # What has changed since it was selected is copied as it was then.
    assert (tmp_path / "run" / "stale.py").read_bytes() == b"y" * 5000


def test_where_blocks_cant_be_shared_that_is_tried_once(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []
    monkeypatch.setattr(copies, "clone", lambda *files: bool(tried.append(1)))
    fill(project, "a.py", "b.py", content=b"x" * 5000)
    copies.copy_selection(source.select(project), tmp_path / "run")
    assert tried == [1]
    assert (tmp_path / "run" / "b.py").read_bytes() == b"x" * 5000


def test_a_file_that_may_not_be_read_is_left_out() -> None:
    code = """if 1:
        import os, sys
        from pathlib import Path
        from orchestra.errors import ScriptError
        from orchestra.workspace import source
        project = Path(sys.argv[1])
        # What is imported late must be there before this user can't read it any more.
        source.select(project)
        if os.getuid() == 0:
            os.setuid(65534)
        print(source.select(project).paths)
        try:
            source.select(project, always=("secret",))
        except ScriptError as error:
            print(error.message.split(":")[0])
    """
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        fill(Path(folder), "say.py", "secret")
        Path(folder, "secret").chmod(0)
        done = run_python(code, folder)
    assert done.stdout == "('say.py',)\nPermission denied\n", done.stderr


def test_a_file_is_never_replaced_by_its_own_copy(project: Path) -> None:
    fill(project, "say.py")

    with pytest.raises(ScriptError, match="onto itself"):
        copies.copy_selection(source.select(project), project)

    assert (project / "say.py").read_bytes() == b"text\n"
